"""One source partition that this worker owns: restore, ordered commits, a new start after a failure."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from app.engine.batch import Chunk, Out
from app.engine.errors import ErrorPolicy, Flood
from app.engine.idle import ROW, Idle
from app.engine.meters import Tally
from app.engine.out import Updates, flush_updates
from app.engine.pinned import Pinned
from app.engine.restore import HopelessError, restore
from app.engine.source import ConsumerRecord, Source, State
from app.engine.staged import Staged, forget
from app.engine.trouble import Sorted, Trouble
from app.engine.upstream import NO_EVENTS, Told, load
from app.engine.upstream import ROW as UPSTREAM
from app.engine.waiting import END, PREFIX, row_key, unpack

if TYPE_CHECKING:
    from app.engine.engine import Engine

logger = logging.getLogger(__name__)

# What of a partition may be under way at once: enough that no round trip to Kafka is waited for.
DEPTH = 4  # full chunks
MOST_CHUNKS = 64


class Partition:
    """A source partition, from its assignment to its revocation.

    Attributes:
        state: its tables.
        tag: what a chunk's tag must be; None while nothing may be processed.
        accepted: offset of the first record that no batch has taken yet.
        committed: offset of the first record that is not yet in the state; None before the restore.
        watermark: largest event time that was accepted, seconds since the epoch.
        applied: number of events that were accepted.
        upstream: what the partitions that fill it have told; see `app.engine.upstream`.
        trouble: events that are none, that fail, and that wait.
        pinned: as of when it looks reference topics up.
        limit: the largest number of records in a chunk.
        meter: counts what is committed.
    """

    state: State

    def __init__(self, engine: "Engine", source: Source, number: int, limit: int) -> None:
        self.engine = engine
        self.source = source
        self.number = number
        self.tag: int | None = None
        self.accepted = 0
        self.committed: int | None = None
        self.watermark = 0.0
        self.applied = 0
        self.upstream: Mapping[str, float] = {}
        policy = engine.policies.get(source.topic, ErrorPolicy())
        self.trouble = Trouble(self.name, policy, engine.dlq_limit, engine.clock)
        self.limit = limit
        self.meter = engine.meters[source.topic]
        self.pinned = Pinned(self)
        self._silence = Idle(source.idle, engine.clock)
        self._chunks: deque[Chunk] = deque()
        self._queue: deque[Staged] = deque()
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: Exception | None = None
        self._blame: tuple[int | None, bool] = (None, False)
        self._last: HopelessError | None = None
        self._retrying: Chunk | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Topic and number, as in an origin."""
        return f"{self.source.topic}/{self.number}"

    @property
    def progress(self) -> int | None:
        """How many records a restore has read or skipped; None if there is none under way."""
        if hasattr(self, "state"):
            return self.state.progress.next if self.committed is None else None
        return self.pinned.progress

    @property
    def reached(self) -> float | None:
        """The committed watermark; `NO_EVENTS` after a time without any; None if there is nothing to tell."""
        if self.tag is None:
            return None
        if watermark := self.state.position.watermark:
            return float(watermark)
        return NO_EVENTS if self._silence.long else None

    @property
    def waits_since(self) -> float | None:
        """When the oldest batch without a commit was done, on the monotonic clock; None if there is none."""
        return self._queue[0].since if self._queue else None

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        chunks = len(self._chunks) + len(self._queue)
        if self.tag is None or self._silence.planned is not None:
            return True
        if chunks < DEPTH:
            return False
        records = sum(len(chunk.records) for chunk in self._chunks) + sum(s.records for s in self._queue)
        return chunks >= MOST_CHUNKS or records >= DEPTH * self.limit

    def start(self) -> None:
        """Restore the state, then work until `close`."""
        self._task = asyncio.create_task(self._run(), name=f"partition {self.name}")

    def chunk(self, records: Any, tag: int) -> Chunk:
        """Take records that were fetched: their agent must get them, and `settle` follow, in this order."""
        chunk = Chunk(self, records, tag)
        self._chunks.append(chunk)
        return chunk

    def wants(self, chunk: Chunk) -> bool:
        """Whether a chunk is still to be processed."""
        return self.tag is not None and chunk.tag == self.tag

    def begin(self, chunk: Chunk) -> Sequence[ConsumerRecord]:
        """Return the records of a chunk that are to be processed now; none if it is not wanted any more."""
        while self.wants(chunk) and self._chunks and self._chunks[0] is not chunk:
            skipped = self._chunks.popleft()
            # Nothing behind a batch may be processed before it: the chunk, too, is fetched again.
            self.fail(skipped, RuntimeError("an agent has left out a batch"))
        if not self.wants(chunk) or not chunk.records:
            return []
        if chunk.retry or chunk.records[0].offset >= self.accepted:
            return chunk.records
        return [record for record in chunk.records if record.offset >= self.accepted]

    async def committed_all(self) -> None:
        """Wait until all that is staged is committed, or dropped."""
        await self._idle.wait()

    def due(self) -> Chunk | None:
        """Return a chunk that does not come from Kafka, to be treated like one that was fetched.

        It has events to try again now, or moves the watermark of a partition that is silent.
        """
        return self._again() or self._tick()

    def _tick(self) -> Chunk | None:
        if self.tag is None or self._chunks or self._queue or self.trouble.waiting:
            return None
        if self._silence.planned is None:
            row = self._silence.plan(self.accepted, self.watermark)
            if row is None:
                return None
            changes = self.engine.wiring.new_changes()
            changes.rows[ROW] = row
            self._stage(changes, {}, [], Tally())
        assert self._silence.planned is not None
        return self.move(self._silence.planned)

    def move(self, watermark: float) -> Chunk:
        """Return a chunk that moves the watermark, to be treated like one that was fetched."""
        assert self.tag is not None
        chunk = Chunk(self, [], self.tag, watermark=watermark)
        self._chunks.append(chunk)
        return chunk

    @property
    def ready(self) -> bool:
        """Whether it is at work, and has nothing under way."""
        return self.tag is not None and not self._chunks and not self._queue

    def _again(self) -> Chunk | None:
        waiting = self.trouble.waiting
        if self.tag is None or self._retrying is not None or not waiting or self.full:
            return None
        offsets = waiting.due(self.limit, keep_order=self.trouble.policy.keep_order)
        rows = self.state.get_many([row_key(offset) for offset in offsets])
        records = unpack(offsets, rows)
        if not records:
            return None
        self._retrying = Chunk(self, records, self.tag, retry=True)
        self._chunks.append(self._retrying)
        return self._retrying

    def settle(self, chunk: Chunk) -> None:
        """Note that the agent is done with a chunk."""
        with suppress(ValueError):  # it is not there any more after a failure
            self._chunks.remove(chunk)
        if self._retrying is chunk:
            self._retrying = None
        self.engine.room.set()

    def agent_failed(self, failure: Exception) -> None:
        """Note that the agent has failed outside of a commit: whatever it had is fetched again."""
        if self._chunks:
            self.fail(self._chunks[0], failure, by_agent=True)
            self._chunks.clear()
            self._retrying = None

    async def stage(self, chunk: Chunk, out: Out, found: Sorted, watermark: float, told: Told | None) -> None:
        """Take over a batch whose agent is done. Its outputs are sent now, its changes after them."""
        changes = out.changes()
        changes.rows.update(found.rows)
        deliveries = await out.flush()
        if not self.wants(chunk):
            forget(deliveries)
            return
        self.accepted, self.watermark, self.applied = out.end, watermark, out.serial
        self.trouble.accept(found)
        self._silence.moved()
        if chunk.watermark is not None:
            changes.rows[ROW] = None
        if told is not None and told.known != self.upstream:
            self.upstream = told.known
            changes.rows[UPSTREAM] = told.row
        out.tally.records = len(chunk.records)
        self._stage(changes, out.updates, deliveries, out.tally)
        if found.refused is not None:
            # What the limit lets pass is committed, so that it can be looked at; nothing after it.
            self.tag = None
            self._last = self.trouble.too_many(found.refused)

    def _stage(self, changes: Any, updates: Updates, sent: list[asyncio.Future[Any]], tally: Tally) -> None:
        self.state.stage(changes)
        position = (self.accepted, self.watermark, self.applied, astuple(self.trouble.flood))
        self._queue.append(Staged(changes, updates, sent, *position, tally))
        self._idle.clear()
        self._changed.set()

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
            self.tag = None
            self._failure, self._blame = failure, (at, by_agent)
            self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._acquire()
                await self._commit()
            except self.engine.wiring.fenced as exc:
                # The group must be giving the partition to another worker; taking it back would only
                # fence the rightful owner.
                self._drop()
                logger.warning("%s: %s; waiting for the rebalance", self.name, exc)
                await asyncio.sleep(self.engine.app.conf.broker_session_timeout)
                await self.engine.stop_worker(f"{self.name} is owned by another worker: {exc}")
            except HopelessError as exc:
                await self.engine.stop_worker(str(exc))
            except Exception as exc:  # whatever it is, the partition begins again from its position
                self._drop()
                self.meter.retries += 1
                if isinstance(exc, self.engine.wiring.too_large) and self.limit > 1:
                    self.limit = max(1, self.limit // 2)
                    logger.warning("%s: %s; batches are cut to %d records", self.name, exc, self.limit)
                    continue
                at, by_agent = self._blame if exc is self._failure else (None, False)
                try:
                    await asyncio.sleep(self.trouble.judge(exc, at, by_agent=by_agent))
                except HopelessError as hopeless:
                    await self.engine.stop_worker(str(hopeless))

    def _drop(self) -> None:
        self.tag = None
        for staged in self._queue:
            forget(staged.deliveries)
        self._queue.clear()
        self._retrying = None
        self._idle.set()

    async def _acquire(self) -> None:
        began = time.monotonic()
        await self.pinned.wait()
        if not hasattr(self, "state"):
            self.state = self.engine.wiring.open_state(self.source, self.number)
        await restore(self.name, self.state, self.engine.restore_seconds)
        position = self.state.position
        topic, wiring = self.source.topic, self.engine.wiring
        offset = await self.engine.begin(TopicPartition(topic, self.number), self.state)
        self.accepted, tag = await self.engine.rewind(topic, self.number, offset)
        if topic not in position.offsets:
            # From now on a state without a position is one that has lost it.
            await self.state.commit(
                wiring.new_changes(), wiring.position({topic: self.accepted}, 0.0, 0, (0, 0, 0))
            )
        await self.pinned.load()
        if self.committed is None:
            self.meter.taken_over(time.monotonic() - began, self.state.progress.records)
        self.committed = self.accepted
        self.watermark, self.applied = position.watermark, position.applied
        self.trouble.flood = Flood(*position.flood)
        plan, upstream = self.state.get_many([ROW, UPSTREAM])
        self._silence.load(plan, self.accepted)
        self.upstream = load(upstream)
        self.trouble.waiting.load(self.state.scan_committed(PREFIX, END))
        self._failure = None
        self.tag = tag
        self.engine.restored()
        logger.info(
            "%s: ready at offset %d, %d records of its state log read in %.1f s",
            self.name,
            self.accepted,
            self.state.progress.records,
            time.monotonic() - began,
        )

    async def _commit(self) -> None:
        queue = self._queue
        while True:
            if not queue:
                self._idle.set()
                if self._last is not None:
                    raise self._last
            while not queue and self._failure is None:
                self._changed.clear()
                await self._changed.wait()
            if self._failure is not None:
                raise self._failure
            await asyncio.gather(*queue[0].deliveries)
            tick = self.engine.commit_seconds
            if self.tag is not None and tick:
                await asyncio.sleep(tick - time.monotonic() % tick)
            # Whatever else has been delivered by now goes into the same commit.
            ready = 1
            while ready < len(queue) and queue[ready].delivered:
                ready += 1
            try:
                await self._commit_first(ready)
            except self.engine.wiring.too_large:
                if ready == 1:
                    raise
                for _ in range(ready):
                    await self._commit_first(1)
            self.trouble.failures = 0

    async def _commit_first(self, count: int) -> None:
        began, told = time.monotonic(), Tally()
        group = [self._queue[i] for i in range(count)]
        changes, updates = group[0].changes, group[0].updates
        if count > 1:
            changes, updates = self.engine.wiring.new_changes(), {}
            for staged in group:
                changes.update(staged.changes)
                updates.update(staged.updates)
        if updates:
            await asyncio.gather(*await flush_updates(self, updates, told))
        last = group[-1]
        position = self.engine.wiring.position(
            {self.source.topic: last.position}, last.watermark, last.applied, last.flood
        )
        await self.state.commit(changes, position)
        self.state.applied([staged.changes for staged in group])
        self.committed = last.position
        tallies = [told, *(staged.tally for staged in group)]
        self.meter.committed(tallies, time.monotonic() - began, self.engine.clock())
        if traces := [trace for tally in tallies for trace in tally.traces.values()]:
            self.engine.tracer.end(traces)
        for _ in group:
            self._queue.popleft()
        self.engine.room.set()

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait for what is under way to be committed."""
        self.tag = None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    async def close(self) -> None:
        """Stop, and release the state."""
        self.tag = None
        if self._task is not None:
            # Again and again: aiokafka's clients swallow a cancellation that comes while they are closed.
            while not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=1)
        self._drop()
        if hasattr(self, "state"):
            self.state.close()
            del self.state
