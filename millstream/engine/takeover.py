"""Take over a partition: its state is read from the log, and its place in the source is found."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from aiokafka.structs import TopicPartition

from millstream.engine.counters import Counters
from millstream.engine.cursor import Cursor
from millstream.engine.error_handling import ErrorHandler
from millstream.engine.error_policy import DeadLetterCounter
from millstream.engine.fetch_buffer import FetchBuffer
from millstream.engine.idleness import ROW, Idleness
from millstream.engine.reference_view import ReferenceView
from millstream.engine.retry_queue import END, PREFIX
from millstream.engine.upstream_watermarks import ROW as UPSTREAM
from millstream.engine.upstream_watermarks import load
from millstream.state.log import Position
from millstream.state.replica import Changes
from millstream.state.restore import restore
from millstream.state.state import State

logger = logging.getLogger(__name__)


class SourceOffsets(Protocol):
    """Where source partitions begin and end, in Kafka or in memory."""

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        """Return the offset to go on from; None is where the group has committed, or its reset policy.

        Raises:
            UnrecoverableError: the source ends before the events that the state holds.
        """
        ...

    async def end(self, source: TopicPartition) -> int:
        """Return the offset after a partition's last record."""
        ...

    async def start_of(self, topic: str, number: int) -> int:
        """Return from where on a partition without a state is read, by its group's commits or settings."""
        ...


class Takeover:
    """Makes this worker the owner of a partition, and gives the partition work.

    Args:
        cursor: how far the partition has come; the take-over sets it.
        open_state: opens its tables.
        offsets: where source partitions begin and end.
        restore_seconds: how long the restore may take.
        references: as of which offsets reference topics are looked up.
        errors: knows the events that wait to be retried.
        idleness: knows a planned move of the watermark.
        buffer: fetches go there.
        counters: counts the take-over.
        ready: called when the partition may be fetched from.
    """

    def __init__(
        self,
        cursor: Cursor,
        open_state: Callable[[], State],
        offsets: SourceOffsets,
        *,
        restore_seconds: float,
        references: ReferenceView,
        errors: ErrorHandler,
        idleness: Idleness,
        buffer: FetchBuffer,
        counters: Counters,
        ready: Callable[[], None],
    ) -> None:
        self._cursor = cursor
        self._open_state = open_state
        self._offsets = offsets
        self._restore_seconds = restore_seconds
        self._references = references
        self._errors = errors
        self._idleness = idleness
        self._buffer = buffer
        self._counters = counters
        self._ready = ready

    async def take_over(self) -> None:
        """Become the owner, restore the state, and go on from its position.

        Raises:
            UnrecoverableError: it takes too long, or the source ends before the position.
        """
        began, cursor = time.monotonic(), self._cursor
        await self._references.wait()
        if cursor.state is None:
            cursor.state = self._open_state()
        state = cursor.state
        await restore(cursor.name, state, self._restore_seconds)
        cursor.accepted = await self._offset(state)
        await self._references.load()
        if cursor.committed is None:
            self._counters.taken_over(time.monotonic() - began, state.progress.records)
        cursor.committed = cursor.accepted
        self._load(state)
        cursor.generation = self._buffer.move(cursor.accepted)
        self._ready()
        logger.info(
            "%s: ready at offset %d, %d records of its state log read in %.1f s",
            cursor.name,
            cursor.accepted,
            state.progress.records,
            time.monotonic() - began,
        )

    async def _offset(self, state: State) -> int:
        """Return the source's offset to go on from; a state that has no position gets one."""
        topic, number = self._cursor.source.topic, self._cursor.number
        offset = await self._offsets.begin(TopicPartition(topic, number), state)
        if offset is None:
            offset = await self._offsets.start_of(topic, number)
        if topic not in state.position.offsets:
            # From now on a state without a position is one that has lost it.
            await state.commit(Changes(), Position({topic: offset}))
        return offset

    def _load(self, state: State) -> None:
        """Begin with what the state holds."""
        cursor, position = self._cursor, state.position
        cursor.watermark, cursor.applied = position.watermark, position.applied
        self._errors.dead_letters = DeadLetterCounter(*position.dead_letters)
        plan, upstream = state.get_many([ROW, UPSTREAM])
        self._idleness.load(plan, cursor.accepted)
        cursor.upstream = load(upstream)
        self._errors.retry_queue.load(state.scan_committed(PREFIX, END))
