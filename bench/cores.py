"""How busy the machine is, and how fast."""

import os
import time
from pathlib import Path

YARDSTICK = 1_000_000


def yardstick() -> float:
    """Time plain Python at a fixed piece of work in memory, in seconds.

    One machine differs from day to day by a factor of three, by what its host's other guests leave of cache
    and memory: by this, results of different days can be held against each other.
    """
    began = time.perf_counter()
    numbers = {str(i): i for i in range(YARDSTICK)}
    for i in range(0, YARDSTICK, 3):
        numbers[str(i)] += 1
    return time.perf_counter() - began


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
