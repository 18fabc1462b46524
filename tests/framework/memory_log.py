"""The state log in memory, read in chunks that end inside of commits."""

from dataclasses import dataclass

from millstream.testing import memory_log as log


@dataclass
class MemoryLog(log.MemoryLog):
    """See `millstream.testing.memory_log.MemoryLog`."""

    stretch: int = 3
