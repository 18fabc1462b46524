"""How busy the machine is."""

import os
from pathlib import Path


def busy_seconds() -> float:
    """CPU time that all cores have worked so far, for whom ever."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = _seconds()
    return user + nice + system + irq + softirq


def stolen_seconds() -> float:
    """CPU time that the cores would have worked so far, had not the hypervisor given it to other machines."""
    return _seconds()[7]


def _seconds() -> list[float]:
    """Return the columns of `proc(5)`, `/proc/stat`, of all cores together."""
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return [int(tick) / os.sysconf("SC_CLK_TCK") for tick in ticks]
