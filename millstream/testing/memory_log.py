"""The state log in memory, including compaction and other writers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from millstream.state.errors import TooLargeError
from millstream.state.log import Entry


@dataclass
class Record:
    """A record of the log; see `millstream.state.log.LogRecord`."""

    offset: int
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


@dataclass
class MemoryLog:
    """A state log; see `millstream.state.log.Log`.

    Attributes:
        records: the records.
        end: offset after the last record that was ever appended.
        max_entries: maximum number of entries in a batch.
        stretch: number of records that are read at once.
        topic_id: the log's id.
    """

    records: list[Record] = field(default_factory=list)
    end: int = 0
    max_entries: int = 1_000_000
    stretch: int = 1000
    topic_id: str = ""

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append entries as one batch, and return its first offset."""
        await asyncio.sleep(0)
        if len(entries) > self.max_entries:
            raise TooLargeError(f"{len(entries)} entries")
        base = self.end
        for key, value, headers in entries:
            self.records.append(Record(self.end, key, value, list(headers), int(time.time() * 1000)))
            self.end += 1
        return base

    async def start(self) -> int:
        """Return the offset of the oldest record that still exists."""
        return self.records[0].offset if self.records else self.end

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        """Yield the records from `start` up to, not including, `end`, in order."""
        wanted = [r for r in self.records if start <= r.offset < end]
        for i in range(0, len(wanted), self.stretch):
            await asyncio.sleep(0)
            yield wanted[i : i + self.stretch]

    def compact(self, upto: int | None = None) -> None:
        """Keep the last record of each key, as the broker's cleaner does below the offset `upto`."""
        limit = self.end if upto is None else upto
        last = {r.key: r.offset for r in self.records if r.offset < limit}
        self.records = [r for r in self.records if r.offset >= limit or last[r.key] == r.offset]
