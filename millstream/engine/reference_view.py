"""As of which offsets a source partition looks reference topics up.

A replay must find what was found the first time. So these offsets are a row of the state, with a *lease*: the
row is for events that Kafka got before a certain time. It is committed with all that was computed before it,
and only then used for look-ups; no event is given to the agent that no row is for. So after a crash newer
offsets may be used from the first event on that came after the lease, or after the new start: nobody has seen
that event before.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
from aiokafka.structs import TopicPartition

from millstream.engine.chunk import Chunk
from millstream.engine.counters import BatchStatistics
from millstream.engine.cursor import Cursor
from millstream.engine.error_handling import ErrorHandler
from millstream.engine.staging import CommitQueue
from millstream.kafka.records import ConsumerRecord
from millstream.state.replica import Changes
from millstream.tables.reference import Lookup, Offsets, Reference, ReferenceCopy

logger = logging.getLogger(__name__)

# Sorted behind `millstream.state.replica.TOPIC`: a copy sends such rows to a log that has lost its beginning.
ROW = b"\0versions"


class _Row(msgspec.Struct, array_like=True):
    """Offsets of the topics, and the lease: the broker's time, milliseconds since the epoch."""

    offsets: dict[str, Offsets] = {}
    lease: int = 0


_decode = msgspec.msgpack.Decoder(_Row).decode


@dataclass
class ReferenceTimings:
    """How often partitions look reference topics up as of newer offsets.

    Attributes:
        step_seconds: least time between two steps of a partition to newer offsets.
        lease_seconds: how far ahead a partition says for which events its offsets are. After a crash they do
            not change for events that Kafka got up to so long after the last ones.
    """

    step_seconds: float = 1.0
    lease_seconds: float = 10.0


class ReferenceCopies(Protocol):
    """The copies of reference topics that this worker keeps."""

    def of(self, reference: Reference[Any]) -> ReferenceCopy:
        """Return the copy of a reference topic; it may not be ready yet."""
        ...


class ReferenceView:
    """The offsets that a source partition looks up as of.

    Args:
        cursor: how far the partition has come.
        copies: the copies of the reference topics.
        queue: what waits for its commit.
        errors: knows the events that wait to be retried.
        timings: how often the offsets move.
        clock: returns the time, seconds since the epoch.
        stage: stages changes that come from no batch.
        end: returns the offset after a source partition's last record.
        wants: whether a chunk is still to be processed.
    """

    def __init__(
        self,
        cursor: Cursor,
        copies: ReferenceCopies,
        queue: CommitQueue,
        errors: ErrorHandler,
        timings: ReferenceTimings,
        *,
        clock: Callable[[], float],
        stage: Callable[[Changes, BatchStatistics], None],
        end: Callable[[TopicPartition], Any],
        wants: Callable[[Chunk], bool],
    ) -> None:
        self._cursor = cursor
        self._copies = copies
        self._queue = queue
        self._errors = errors
        self._timings = timings
        self._clock = clock
        self._stage = stage
        self._end = end
        self._wants = wants
        self._row = _Row()
        self._found = (0, 0)  # lease of the row, and end of the source, when the partition was taken over
        self._moved = 0.0
        self._warned = False

    @property
    def progress(self) -> int | None:
        """Number of records of reference topics that were read; None if none are waited for."""
        copies = [self._copies.of(reference) for reference in self._cursor.source.references]
        return None if all(copy.ready.is_set() for copy in copies) else sum(copy.records for copy in copies)

    async def wait(self) -> None:
        """Wait until all that the reference topics held when their copies were begun has been read."""
        for reference in self._cursor.source.references:
            await self._copies.of(reference).ready.wait()

    async def load(self) -> None:
        """Begin with what the state holds; what it does not hold is decided and committed."""
        cursor = self._cursor
        if not cursor.source.references:
            return
        state = cursor.owned_state
        raw = state.get_many([ROW])[0]
        found = _Row() if raw is None else _decode(raw)
        offsets = self._newest()
        for topic, newest in offsets.items():
            held = found.offsets.get(topic)
            if held is None:
                continue
            if all(offset <= newest.get(number, 0) for number, offset in held.items()):
                offsets[topic] = held
            else:
                logger.warning("%s: %s was made anew, or has lost records", cursor.name, topic)
        end = await self._end(TopicPartition(cursor.source.topic, cursor.number))
        self._row, self._found, self._warned = _Row(offsets, found.lease), (found.lease, end), False
        if self._row != found:
            await state.commit(_changes(self._row), state.position)

    async def move_on(self, chunk: Chunk) -> None:
        """Look up as of newer offsets from a chunk on, if it is time; see that the lease covers the chunk.

        A planned move of the watermark, and an event that is retried, do not move the offsets: either may
        have come before a crash, so neither may be waiting when newer offsets are taken.
        """
        records: Any = chunk.records
        if not self._row.offsets or not records or chunk.retry or not self._wants(chunk):
            return
        await self.wait()  # for a topic that was made anew
        offsets, last = self._row.offsets, max(record.timestamp for record in records)
        if self._is_new(records[0]) and self._may_move():
            offsets = self._newest()
        if offsets == self._row.offsets and last < self._row.lease:
            return
        row = _Row(offsets, last + 1 + int(self._timings.lease_seconds * 1000))
        self._stage(_changes(row), BatchStatistics())
        await self._queue.empty.wait()
        if self._wants(chunk):
            self._row = row

    def lookup(self, reference: Reference[Any]) -> Lookup[Any]:
        """Return a reference topic as this partition looks it up.

        Raises:
            LookupError: the reference topic is not attached to the partition's source.
        """
        if reference.topic not in self._row.offsets:
            raise LookupError(
                f"{self._cursor.source.topic} does not refer to {reference.name!r}: "
                "`app.add_references(topic, reference)`"
            )
        copy = self._copies.of(reference)
        return Lookup(copy, self._row.offsets[reference.topic], partial(self._gone, reference.topic))

    def _is_new(self, record: ConsumerRecord) -> bool:
        """Whether nobody can have processed a record before this partition was taken over."""
        lease, end = self._found
        return record.timestamp >= lease or record.offset >= end

    def _may_move(self) -> bool:
        now = self._clock()
        if now < self._moved + self._timings.step_seconds:
            return False
        self._moved = now
        return not self._errors.retry_queue.due(1, keep_order=self._errors.policy.keep_order)

    def _newest(self) -> dict[str, Offsets]:
        return {one.topic: dict(self._copies.of(one).next) for one in self._cursor.source.references}

    def _gone(self, topic: str, key: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s: what %s held of %r as of the last commit may be compacted away; the oldest value that "
                "is there is taken, for other keys too",
                self._cursor.name,
                topic,
                key,
            )


def _changes(row: _Row) -> Changes:
    changes = Changes()
    changes.rows[ROW] = msgspec.msgpack.encode(row)
    return changes
