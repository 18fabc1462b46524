"""Reference topics: compacted topics that each worker reads whole, for look-ups.

A look-up must give the same after a crash as before it. So a worker's copy of a reference topic knows, beside
a key's newest value, those before it, and each source partition says as of which offsets it looks up; see
`app.engine.pinned`.
"""

import asyncio
import logging
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from app.engine.fetch import EARLIEST, LATEST, connect
from app.engine.source import ConsumerRecord
from app.engine.tasks import cancel

if TYPE_CHECKING:
    from app.engine.engine import Engine
    from app.engine.out import Out

logger = logging.getLogger(__name__)

R = TypeVar("R")
Offsets = dict[int, int]
"""By partition, the offset of the first record that is not read."""

# Kafka (`min.compaction.lag.ms`) and the copies keep for so long what a later value has replaced.
REPLACED_KEPT = timedelta(hours=1)
WAIT_MS = 500
RETRY_SECONDS = 1.0


class Reference(Generic[R]):
    """A reference topic, as it is declared.

    Args:
        name: its name for queries.
        topic: its name in Kafka.
        key: field of a value that is the record's key.
        decode: turns records into values; in place of one that is none stands an exception.
    """

    def __init__(
        self, name: str, topic: str, *, key: str, decode: Callable[[Sequence[ConsumerRecord]], list[Any]]
    ) -> None:
        self.name = name
        self.topic = topic
        self.key = key
        self.decode = decode

    def open(self, out: "Out") -> "Known[R]":
        """Use the topic in the commit of a batch whose source refers to it."""
        known: Known[R] = out.pinned.known(self)
        return known


class Version(NamedTuple):
    """A value of a key (None: it was deleted), and when it was written, seconds since the epoch."""

    offset: int
    partition: int
    value: Any
    written: float


class Copy:
    """A worker's copy of a reference topic.

    A key lies in one partition; should it lie in several, the highest offset counts.

    Attributes:
        next: how far it has come.
        ready: set when it has read all that was there when it began.
        records: number of records that were read.
        invalid: number of those that were left out, because they are no value.
        keys: number of keys that have a value.
    """

    def __init__(self, reference: Reference[Any], clock: Callable[[], float]) -> None:
        self.reference = reference
        self.ready = asyncio.Event()
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.ready.clear()
        self.next: Offsets = {}
        self.records = self.keys = self.invalid = 0
        self._versions: dict[str, list[Version]] = {}
        # Keys of which something may be forgotten later, by when what replaces it was written.
        self._replaced: list[tuple[float, str]] = []

    def apply(self, partition: int, records: Sequence[ConsumerRecord], following: int) -> None:
        """Apply records of a partition; `following` is the offset to go on from."""
        for record, value in zip(records, self.reference.decode(records), strict=True):
            try:
                self._add(partition, record, value)
            except ValueError as exc:
                self.invalid += 1
                logger.warning(
                    "%s/%d: the record at offset %d is left out: %s",
                    self.reference.topic,
                    partition,
                    record.offset,
                    exc,
                )
        self.records += len(records)
        self.next[partition] = following
        self._forget()

    def _add(self, partition: int, record: ConsumerRecord, value: Any) -> None:
        if record.key is None:
            raise ValueError("it has no key")
        key, field = record.key.decode(), self.reference.key
        if record.value is None:
            value = None
        elif isinstance(value, Exception):
            raise ValueError(str(value))
        elif str(getattr(value, field)) != key:
            raise ValueError(f"its key is {key!r}, and its {field} {getattr(value, field)!r}")
        versions = self._versions.setdefault(key, [])
        self.keys -= bool(versions) and versions[-1].value is not None
        written = record.timestamp / 1000
        insort(versions, Version(record.offset, partition, value, written), key=_order)
        self.keys += versions[-1].value is not None
        if len(versions) > 1 or value is None:
            heappush(self._replaced, (written, key))

    def _forget(self) -> None:
        """Forget versions that were replaced, and keys that were deleted, long ago."""
        limit = self._clock() - REPLACED_KEPT.total_seconds()
        while self._replaced and self._replaced[0][0] <= limit:
            _, key = heappop(self._replaced)
            versions = self._versions.get(key, [])
            while len(versions) > 1 and versions[1].written <= limit:
                del versions[0]
            if len(versions) == 1 and versions[0].value is None and versions[0].written <= limit:
                del self._versions[key]

    def newest(self, key: str) -> Version | None:
        """Return the newest version of a key."""
        versions = self._versions.get(key)
        return versions[-1] if versions else None

    def as_of(self, key: str, offsets: Mapping[int, int], gone: Callable[[str], None]) -> Any:
        """Return the value of a key as of offsets; None if there is none.

        If it may not be there any more, `gone` is called, and the oldest value that is there returned.
        """
        versions = self._versions.get(key)
        if versions is None:
            return None
        for version in reversed(versions):
            if version.offset < offsets.get(version.partition, 0):
                return version.value
        if versions[0].written > self._clock() - REPLACED_KEPT.total_seconds():
            return None  # Kafka would still have what stood before
        gone(key)
        return versions[0].value


def _order(version: Version) -> tuple[int, int]:
    return version.offset, version.partition


class Known(Generic[R]):
    """A reference topic in the commit of one batch.

    Args:
        copy: the worker's copy.
        offsets: as of which offsets it is read.
        gone: told the key of a value that may not be there any more.
    """

    def __init__(self, copy: Copy, offsets: Offsets, gone: Callable[[str], None]) -> None:
        self._copy = copy
        self._offsets = offsets
        self._gone = gone

    def get(self, key: str) -> R | None:
        """Return the value of a key, which must not be changed; None if there is none."""
        value: R | None = self._copy.as_of(key, self._offsets, self._gone)
        return value


class References:
    """The copies that this worker keeps, each read by a task of its own once it is wanted."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        self.copies: dict[str, Copy] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def declared(self) -> dict[str, Reference[Any]]:
        """All reference topics that agents look up, by name."""
        return {one.name: one for source in self.engine.sources.values() for one in source.references}

    def of(self, reference: Reference[Any]) -> Copy:
        """Return the copy of a reference topic; it may not be ready yet."""
        copy = self.copies.get(reference.topic)
        if copy is None:
            copy = self.copies[reference.topic] = Copy(reference, self.engine.clock)
            self.read(copy)
        return copy

    def read(self, copy: Copy) -> None:
        """Begin to read what a copy is of."""
        self._tasks.append(
            asyncio.create_task(self._run(copy), name=f"reference topic {copy.reference.topic}")
        )

    async def close(self) -> None:
        """Stop, and forget the copies."""
        for task in self._tasks:
            await cancel(task)
        self._tasks.clear()
        self.copies.clear()

    async def _run(self, copy: Copy) -> None:
        while True:
            try:
                await self._follow(copy)
            except Exception as exc:  # Kafka is away, or the topic was made anew
                logger.warning("%s: %r; trying again", copy.reference.topic, exc)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, copy: Copy) -> None:
        topic, stretches = copy.reference.topic, self.engine.wiring.stretches
        async with connect(self.engine.bootstrap, [topic]) as reader:
            partitions = await reader.partitions(topic)
            starts = await reader.offsets(partitions, EARLIEST)
            ends = await reader.offsets(partitions, LATEST)
            read = {tp: copy.next.get(tp.partition, starts[tp]) for tp in partitions}
            if any(not starts[tp] <= read[tp] <= ends[tp] for tp in partitions):
                logger.warning("%s was made anew, or has lost records: it is read again", topic)
                copy.clear()
                read = starts
            copy.next.update((tp.partition, offset) for tp, offset in read.items())
            while True:
                # Not by records: compaction may have left none before the end.
                if all(copy.next[tp.partition] >= ends[tp] for tp in partitions):
                    copy.ready.set()
                fetched = await reader.fetch(
                    {tp: copy.next[tp.partition] for tp in partitions}, wait_ms=WAIT_MS
                )
                if len(fetched) == len(partitions) and not any(part.records for part in fetched.values()):
                    copy.ready.set()
                for tp, part in fetched.items():
                    for records, following in stretches(part.records, part.next):
                        copy.apply(tp.partition, records, following)
                        await asyncio.sleep(0)
