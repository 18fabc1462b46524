"""How busy the machine is."""

import os
from pathlib import Path


def busy_seconds() -> float:
    """CPU time that all cores have worked so far, for whom ever."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
