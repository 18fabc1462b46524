"""The state log in memory, read in stretches that end inside of commits."""

from dataclasses import dataclass

from app.memory import log


@dataclass
class MemoryLog(log.MemoryLog):
    """See `app.memory.log.MemoryLog`."""

    stretch: int = 3
