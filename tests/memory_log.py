"""The state log in memory, with what Kafka does to it: compaction, and other writers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from tables.log import Entry, TooLargeError


@dataclass
class Record:
    offset: int
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]
    timestamp: int


@dataclass
class MemoryLog:
    records: list[Record] = field(default_factory=list)
    end: int = 0
    max_entries: int = 1_000_000
    topic_id: str = ""

    async def append(self, entries: Sequence[Entry]) -> int:
        await asyncio.sleep(0)
        if len(entries) > self.max_entries:
            raise TooLargeError(f"{len(entries)} entries")
        base = self.end
        for key, value, headers in entries:
            self.records.append(Record(self.end, key, value, list(headers), int(time.time() * 1000)))
            self.end += 1
        return base

    async def start(self) -> int:
        return self.records[0].offset if self.records else self.end

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Record]]:
        wanted = [r for r in self.records if start <= r.offset < end]
        for i in range(0, len(wanted), 3):  # cuts that fall inside of commits
            await asyncio.sleep(0)
            yield wanted[i : i + 3]

    def compact(self, upto: int | None = None) -> None:
        """Keep the last record of each key, as the broker's cleaner does below the offset `upto`."""
        limit = self.end if upto is None else upto
        last = {r.key: r.offset for r in self.records if r.offset < limit}
        self.records = [r for r in self.records if r.offset >= limit or last[r.key] == r.offset]
