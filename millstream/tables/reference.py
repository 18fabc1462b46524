"""Reference topics: compacted topics that each worker reads completely, for look-ups.

A look-up must return the same value after a crash as before it. So a worker's copy of a reference topic also
keeps the earlier values of a key, and each source partition has reference offsets for its look-ups; see
`millstream.engine.reference_view`.
"""

import asyncio
import logging
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from heapq import heappop, heappush
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from millstream.kafka.records import ConsumerRecord

logger = logging.getLogger(__name__)

R = TypeVar("R")
Offsets = dict[int, int]
"""By partition: the offset of the next record to read."""

# How long Kafka (`min.compaction.lag.ms`) and the copies keep a value after a later one replaced it.
REPLACED_KEPT = timedelta(hours=1)


class Reference(Generic[R]):
    """The declaration of a reference topic.

    Args:
        name: its name in queries.
        topic: its name in Kafka.
        record: the Record that its values are.
        key: the field of a value that equals the record's key.
        decode: decodes records into values; it returns an exception in place of an invalid one.
    """

    def __init__(
        self,
        name: str,
        topic: str,
        *,
        record: type[R],
        key: str,
        decode: Callable[[Sequence[ConsumerRecord]], list[Any]],
    ) -> None:
        self.name = name
        self.topic = topic
        self.record = record
        self.key = key
        self.decode = decode

    def open(self, commit: "HasReferences") -> "Lookup[R]":
        """Use the topic in the commit of a batch; it must be attached to the batch's source."""
        lookup: Lookup[R] = commit.references.lookup(self)
        return lookup


class Version(NamedTuple):
    """A value of a key (None if it was deleted), and when it was written, seconds since the epoch."""

    offset: int
    partition: int
    value: Any
    written: float


class ReferenceCopy:
    """A worker's copy of a reference topic.

    Each key is in one partition. If a key is in several, the highest offset counts.

    Attributes:
        next: the next offset to read, by partition.
        ready: set when the copy has read everything that was there when it began.
        records: number of records that were read.
        invalid: number of those that were skipped because they are invalid.
        keys: number of keys that have a value.
    """

    def __init__(self, reference: Reference[Any], clock: Callable[[], float]) -> None:
        self.reference = reference
        self.ready = asyncio.Event()
        self._clock = clock
        self.clear()

    def clear(self) -> None:
        """Start over, with an empty copy."""
        self.ready.clear()
        self.next: Offsets = {}
        self.records = self.keys = self.invalid = 0
        self._versions: dict[str, list[Version]] = {}
        # Keys with versions to remove later, ordered by when the replacement was written.
        self._replaced: list[tuple[float, str]] = []

    def apply(self, partition: int, records: Sequence[ConsumerRecord], following: int) -> None:
        """Apply records of a partition; `following` is the next offset to read."""
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
        """Remove versions that were replaced, and keys that were deleted, longer ago than `REPLACED_KEPT`."""
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
        """Return the value of a key as of the given offsets; None if there is none.

        If the value may have been removed, `gone` is called, and the oldest value that is left is returned.
        """
        versions = self._versions.get(key)
        if versions is None:
            return None
        for version in reversed(versions):
            if version.offset < offsets.get(version.partition, 0):
                return version.value
        if versions[0].written > self._clock() - REPLACED_KEPT.total_seconds():
            return None  # Kafka would still have the earlier value
        gone(key)
        return versions[0].value


def _order(version: Version) -> tuple[int, int]:
    return version.offset, version.partition


class Lookup(Generic[R]):
    """A reference topic in the commit of one batch.

    Args:
        copy: the worker's copy.
        offsets: the reference offsets of the look-ups.
        gone: called with the key when its value may have been removed.
    """

    def __init__(self, copy: ReferenceCopy, offsets: Offsets, gone: Callable[[str], None]) -> None:
        self._copy = copy
        self._offsets = offsets
        self._gone = gone

    def get(self, key: str) -> R | None:
        """Return the value of a key, which the caller must not change; None if there is none."""
        value: R | None = self._copy.as_of(key, self._offsets, self._gone)
        return value


class Lookups(Protocol):
    """The look-ups of a source partition in reference topics."""

    def lookup(self, reference: Reference[Any]) -> Lookup[Any]:
        """Return the partition's view of a reference topic.

        Raises:
            LookupError: the reference topic is not attached to the partition's source.
        """
        ...


class HasReferences(Protocol):
    """The commit of one batch, as a reference topic uses it."""

    @property
    def references(self) -> Lookups:
        """The look-ups in reference topics."""
        ...
