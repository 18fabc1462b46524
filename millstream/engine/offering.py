"""Offered: what the agent of a partition gets next."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from millstream.engine.chunk import Chunk
from millstream.engine.counters import BatchStatistics
from millstream.engine.cursor import Cursor
from millstream.engine.error_handling import ErrorHandler
from millstream.engine.fetch_buffer import FetchBuffer
from millstream.engine.idleness import ROW, Idleness
from millstream.engine.retry_queue import row_key, unpack
from millstream.engine.staging import CommitQueue
from millstream.kafka.records import ConsumerRecord
from millstream.state.replica import Changes

# Full chunks that are fetched ahead: the next come while these are processed.
AHEAD = 8
# An agent that has left a chunk out gets another after so long: that shows it.
LEFT_OUT_SECONDS = 1.0


class Offering:
    """Decides what the agent of a partition gets: fetched records, events to retry, a watermark to move.

    Args:
        cursor: how far the partition has come.
        buffer: what was fetched.
        queue: what waits for its commit.
        errors: the events that wait to be retried.
        idleness: when the watermark moves without events.
        stage: stages changes that come from no batch.
        fail: makes the partition begin again.
    """

    def __init__(
        self,
        cursor: Cursor,
        buffer: FetchBuffer,
        queue: CommitQueue,
        errors: ErrorHandler,
        idleness: Idleness,
        *,
        stage: Callable[[Changes, BatchStatistics], None],
        fail: Callable[[Exception], None],
    ) -> None:
        self._cursor = cursor
        self._buffer = buffer
        self._queue = queue
        self._errors = errors
        self._idleness = idleness
        self._stage = stage
        self._fail = fail
        self._chunks: deque[Chunk] = deque()
        self._retrying: Chunk | None = None
        self._offered = 0.0

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        return self._cursor.generation is None or self._buffer.full(AHEAD * self._cursor.limit)

    @property
    def has_work(self) -> bool:
        """Whether there may be a chunk for the agent."""
        most = 1 if time.monotonic() >= self._offered + LEFT_OUT_SECONDS else 0
        cursor = self._cursor
        if cursor.generation is None or self._queue.deep(cursor.limit) or len(self._chunks) > most:
            return False
        waits = self._errors.retry_queue or self._idleness.due
        return bool(self._buffer or self._buffer.failure or waits)

    @property
    def ready(self) -> bool:
        """Whether the partition is at work, and has nothing under way."""
        return self._cursor.generation is not None and not self._chunks and not self._queue

    def offer(self) -> Chunk | None:
        """Return a chunk for the agent; None while it has one, or there is nothing to do.

        Its records are known when the agent takes it: all that has come by then.
        """
        if not self.has_work:
            return None
        if (due := self.due()) is not None:
            return due
        if not self._buffer:
            if self._buffer.failure is not None and self.ready:  # all that could be fetched is committed
                self._fail(self._buffer.failure)
            return None
        self._offered = time.monotonic()
        return self.chunk(None)

    def chunk(self, records: Sequence[ConsumerRecord] | None, *, retry: bool = False) -> Chunk:
        """Return a chunk of records: the agent must get it, and `settle` follow, in this order."""
        assert self._cursor.generation is not None
        chunk = Chunk(records, self._cursor.generation, retry=retry)
        self._chunks.append(chunk)
        return chunk

    def due(self) -> Chunk | None:
        """Return events that are to be retried now, or what moves the watermark of an idle partition."""
        return self._retry() or self._move_idle()

    def move(self, watermark: float) -> Chunk:
        """Return a chunk that moves the watermark, to be treated like one that was fetched."""
        chunk = self.chunk([])
        chunk.watermark = watermark
        return chunk

    def wants(self, chunk: Chunk) -> bool:
        """Whether a chunk is still to be processed."""
        return self._cursor.generation is not None and chunk.generation == self._cursor.generation

    def take(self, chunk: Chunk) -> Sequence[ConsumerRecord]:
        """Return a chunk's records; one that was offered gets them now."""
        if chunk.records is None:
            chunk.records = self._buffer.take(self._cursor.limit) if self.wants(chunk) else []
        return chunk.records

    def begin(self, chunk: Chunk) -> Sequence[ConsumerRecord]:
        """Return the records of a chunk that are to be processed now; none if it is not wanted any more."""
        records, accepted = self.take(chunk), self._cursor.accepted
        while self.wants(chunk) and self._chunks and self._chunks[0] is not chunk:
            skipped = self._chunks.popleft()
            if self.wants(skipped):
                # Nothing behind a batch may be processed before it: the chunk, too, is fetched again.
                self._fail(RuntimeError("an agent has left out a batch"))
        if not self.wants(chunk) or not records:
            return []
        if chunk.retry or records[0].offset >= accepted:
            return records
        return [record for record in records if record.offset >= accepted]

    def settle(self, chunk: Chunk) -> None:
        """Note that the agent is done with a chunk."""
        with suppress(ValueError):  # it is not there any more after a failure
            self._chunks.remove(chunk)
        if self._retrying is chunk:
            self._retrying = None

    def abandon(self) -> bool:
        """Forget the chunks that an agent had when it failed; return whether one of them was still wanted."""
        wanted = bool(self._chunks) and self.wants(self._chunks[0])
        self._chunks.clear()
        return wanted

    def drop(self) -> None:
        """Forget the events that are being retried."""
        self._retrying = None

    def _move_idle(self) -> Chunk | None:
        if not self.ready or self._errors.retry_queue:
            return None
        cursor = self._cursor
        if self._idleness.planned is None:
            row = None if self._buffer else self._idleness.plan(cursor.accepted, cursor.watermark)
            if row is None:
                return None
            changes = Changes()
            changes.rows[ROW] = row
            self._stage(changes, BatchStatistics())
        assert self._idleness.planned is not None
        return self.move(self._idleness.planned)

    def _retry(self) -> Chunk | None:
        retry_queue, cursor = self._errors.retry_queue, self._cursor
        if cursor.generation is None or self._retrying is not None or not retry_queue:
            return None
        if self._queue.deep(cursor.limit):
            return None
        offsets = retry_queue.due(cursor.limit, keep_order=self._errors.policy.keep_order)
        rows = cursor.owned_state.get_many([row_key(offset) for offset in offsets])
        records = unpack(offsets, rows)
        if not records:
            return None
        self._retrying = self.chunk(records, retry=True)
        return self._retrying
