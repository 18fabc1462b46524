"""A batch in the hands of its agent: from the records of a chunk to staged outputs and changes."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any

from millstream.engine.batch import Batch
from millstream.engine.chunk import Chunk
from millstream.engine.commit import Commit
from millstream.engine.committing import Committing
from millstream.engine.cursor import Cursor
from millstream.engine.decoding import Decoded, Decoding
from millstream.engine.delivery import Delivery
from millstream.engine.error_handling import ErrorHandler, ValidatedRecords
from millstream.engine.idleness import ROW, Idleness
from millstream.engine.offering import Offering
from millstream.engine.recovery import Recovery
from millstream.engine.reference_view import ReferenceView
from millstream.engine.upstream_watermarks import ROW as UPSTREAM
from millstream.kafka.producer import forget
from millstream.state.errors import UnrecoverableError


class Processing:
    """Opens and stages the commits of a partition's batches.

    Args:
        cursor: how far the partition has come.
        offering: gives the records.
        references: as of which offsets reference topics are looked up.
        decoding: makes events of records.
        delivery: sends outputs.
        committing: takes what is staged.
        errors: knows failed and invalid events.
        idleness: notes that the watermark has moved.
        recovery: begins again after a failure.
        settled: called when the agent is done with a chunk.
    """

    def __init__(
        self,
        cursor: Cursor,
        *,
        offering: Offering,
        references: ReferenceView,
        decoding: Decoding,
        delivery: Delivery,
        committing: Committing,
        errors: ErrorHandler,
        idleness: Idleness,
        recovery: Recovery,
        settled: Callable[[], None],
    ) -> None:
        self._cursor = cursor
        self._offering = offering
        self._references = references
        self._decoding = decoding
        self._delivery = delivery
        self._committing = committing
        self._errors = errors
        self._idleness = idleness
        self._recovery = recovery
        self._settled = settled

    def batch(self, chunk: Chunk) -> Batch[Any]:
        """Return the batch of a chunk, for its agent."""
        return Batch(lambda batch: _Block(self, batch, chunk))

    async def enter(self, batch: Batch[Any], chunk: Chunk) -> tuple[Commit, Decoded | None]:
        """Begin a batch: its events are known from now on. None stands for one that is not wanted."""
        cursor, offering = self._cursor, self._offering
        if chunk.watermark is not None:
            await self._committing.queue.empty.wait()  # the plan, too
        offering.take(chunk)
        await self._references.move_on(chunk)
        records = offering.begin(chunk)
        commit = Commit(cursor, self._references)
        batch.open(commit)
        if records:
            try:
                return commit, self._decoding.decode(batch, commit, records, retry=chunk.retry)
            except UnrecoverableError as exc:
                self.fail(chunk, exc)
        elif chunk.watermark is not None and offering.wants(chunk):
            commit.begin([], [], [], [chunk.watermark], None)
            return commit, Decoded(ValidatedRecords([], replace(self._errors.dead_letters)))
        return commit, None

    def wants(self, chunk: Chunk) -> bool:
        """Whether a chunk is still to be processed."""
        return self._offering.wants(chunk)

    async def stage(self, chunk: Chunk, commit: Commit, decoded: Decoded) -> None:
        """Take over a batch whose agent is done. Its outputs are sent now, its changes after them."""
        cursor, validated = self._cursor, decoded.records
        watermark = commit.watermarks[-1] if commit.watermarks else cursor.watermark
        changes = commit.changes()
        commit.check_rekeyed()
        changes.rows.update(validated.rows)
        deliveries = await self._delivery.send(commit.outputs, commit.statistics)
        commit.sent()
        if not self.wants(chunk):
            forget(deliveries)
            return
        cursor.accepted, cursor.watermark, cursor.applied = commit.end, watermark, commit.serial
        self._errors.accept(validated)
        self._idleness.moved()
        if chunk.watermark is not None:
            changes.rows[ROW] = None
        upstream = decoded.upstream
        if upstream is not None and upstream.known != cursor.upstream:
            cursor.upstream = upstream.known
            changes.rows[UPSTREAM] = upstream.row
        commit.statistics.records = len(self._offering.take(chunk))
        counts = self._errors.dead_letters.counts
        self._committing.stage(changes, commit.updates, deliveries, commit.statistics, counts)
        if validated.refused is not None:
            # What the limit lets pass is committed, so that it can be looked at; nothing after it.
            cursor.generation = None
            self._committing.end_with(self._errors.too_many(validated.refused))

    def fail(
        self, chunk: Chunk, failure: Exception, *, at: int | None = None, by_agent: bool = False
    ) -> None:
        """Drop what is not committed and fetch it again, if the chunk is still wanted.

        Args:
            chunk: what was worked on.
            failure: why it failed.
            at: offset of the event that the agent was at; None if it was at none.
            by_agent: whether its agent failed, not we.
        """
        if self.wants(chunk):
            self._recovery.fail(failure, at, by_agent=by_agent)

    def settle(self, chunk: Chunk) -> None:
        """Note that the agent is done with a chunk."""
        self._offering.settle(chunk)
        self._settled()


class _Block(AbstractAsyncContextManager[Commit]):
    """`async with batch.commit()`."""

    def __init__(self, processing: Processing, batch: Batch[Any], chunk: Chunk) -> None:
        self._processing = processing
        self._batch = batch
        self._chunk = chunk
        self._commit: Commit | None = None
        self._decoded: Decoded | None = None

    async def __aenter__(self) -> Commit:
        batch = self._batch
        if batch.agents == 1:
            opened = await self._processing.enter(batch, self._chunk)
        elif batch.entered == 0:
            opened = batch.shared = await self._processing.enter(batch, self._chunk)
        elif batch.entered == batch.agents:
            raise RuntimeError("an agent has opened the commit of a batch twice")
        else:
            opened = batch.shared
        batch.entered += 1
        self._commit, self._decoded = opened
        self._commit.index = -1
        return self._commit

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        processing, chunk, commit, batch = self._processing, self._chunk, self._commit, self._batch
        assert commit is not None
        wanted = self._decoded is not None and processing.wants(chunk)
        if exc is None and wanted and batch.entered < batch.agents:
            return False  # the next agent goes on
        batch.over = True
        try:
            if isinstance(exc, Exception):
                processing.fail(chunk, exc, at=batch.at, by_agent=True)
            elif exc is None and wanted:
                assert self._decoded is not None
                await processing.stage(chunk, commit, self._decoded)
        except Exception as failure:  # a bug in a table, or a producer that is gone
            processing.fail(chunk, failure)
        finally:
            commit.forget()
            processing.settle(chunk)
        return isinstance(exc, Exception)
