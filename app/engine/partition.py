"""One source partition that this worker owns: restore, ordered commits, a new start after a failure."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiokafka.structs import TopicPartition

from app.engine.batch import Chunk, Out
from app.engine.errors import ErrorPolicy, Flood
from app.engine.fetch import Incoming
from app.engine.idle import ROW, Idle
from app.engine.meters import Tally
from app.engine.out import Updates, flush_updates
from app.engine.pinned import Pinned
from app.engine.producer import forget
from app.engine.restore import HopelessError, restore
from app.engine.source import ConsumerRecord, Source, State
from app.engine.staged import Queue, Staged, merged
from app.engine.tasks import cancel
from app.engine.trouble import Sorted, Trouble
from app.engine.upstream import NO_EVENTS, Told, load
from app.engine.upstream import ROW as UPSTREAM
from app.engine.waiting import END, PREFIX, row_key, unpack

if TYPE_CHECKING:
    from app.engine.engine import Engine

logger = logging.getLogger(__name__)

# Full chunks that are fetched ahead: the next come while these are processed.
AHEAD = 8
# An agent that has left a chunk out gets another after so long: that shows it.
LEFT_OUT_SECONDS = 1.0


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
        incoming: what was fetched and is not processed yet.
        queue: what its agent is done with and is not committed yet.
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
        self.incoming = Incoming()
        self._silence = Idle(source.idle, engine.clock)
        self._chunks: deque[Chunk] = deque()
        self.queue = Queue()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None
        self._blame: tuple[int | None, bool] = (None, False)
        self._last: HopelessError | None = None
        self._retrying: Chunk | None = None
        self._offered = 0.0
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
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        return self.tag is None or self.incoming.full(AHEAD * self.limit)

    def start(self) -> None:
        """Restore the state, then work until `close`."""
        self._task = asyncio.create_task(self._run(), name=f"partition {self.name}")

    def chunk(self, records: Sequence[ConsumerRecord] | None, *, retry: bool = False) -> Chunk:
        """Take records that were fetched: their agent must get them, and `settle` follow, in this order."""
        assert self.tag is not None
        chunk = Chunk(self, records, self.tag, retry=retry)
        self._chunks.append(chunk)
        return chunk

    @property
    def has_work(self) -> bool:
        """Whether there may be a chunk for the agent."""
        most = 1 if time.monotonic() >= self._offered + LEFT_OUT_SECONDS else 0
        if self.tag is None or self.queue.deep(self.limit) or len(self._chunks) > most:
            return False
        return bool(self.incoming or self.incoming.failure or self.trouble.waiting or self._silence.due)

    def offer(self) -> Chunk | None:
        """Return a chunk for the agent; None while it has one, or there is nothing to do.

        What it holds is known when the agent takes it: all that has come by then.
        """
        if not self.has_work:
            return None
        if (due := self.due()) is not None:
            return due
        if not self.incoming:
            if self.incoming.failure is not None and self.ready:  # all that could be fetched is committed
                self._stop(self.incoming.failure)
            return None
        self._offered = time.monotonic()
        return self.chunk(None)

    def take(self, chunk: Chunk) -> Sequence[ConsumerRecord]:
        """Return a chunk's records; one that was offered gets them now."""
        if chunk.records is None:
            chunk.records = self.incoming.take(self.limit) if self.wants(chunk) else []
        return chunk.records

    def wants(self, chunk: Chunk) -> bool:
        """Whether a chunk is still to be processed."""
        return self.tag is not None and chunk.tag == self.tag

    def begin(self, chunk: Chunk) -> Sequence[ConsumerRecord]:
        """Return the records of a chunk that are to be processed now; none if it is not wanted any more."""
        records = self.take(chunk)
        while self.wants(chunk) and self._chunks and self._chunks[0] is not chunk:
            skipped = self._chunks.popleft()
            # Nothing behind a batch may be processed before it: the chunk, too, is fetched again.
            self.fail(skipped, RuntimeError("an agent has left out a batch"))
        if not self.wants(chunk) or not records:
            return []
        if chunk.retry or records[0].offset >= self.accepted:
            return records
        return [record for record in records if record.offset >= self.accepted]

    def due(self) -> Chunk | None:
        """Return events that are to be tried again now, or what moves the watermark of a silent partition."""
        return self._again() or self._tick()

    def _tick(self) -> Chunk | None:
        if not self.ready or self.trouble.waiting:
            return None
        if self._silence.planned is None:
            row = None if self.incoming else self._silence.plan(self.accepted, self.watermark)
            if row is None:
                return None
            changes = self.engine.wiring.new_changes()
            changes.rows[ROW] = row
            self._stage(changes, {}, [], Tally())
        assert self._silence.planned is not None
        return self.move(self._silence.planned)

    def move(self, watermark: float) -> Chunk:
        """Return a chunk that moves the watermark, to be treated like one that was fetched."""
        chunk = self.chunk([])
        chunk.watermark = watermark
        return chunk

    @property
    def ready(self) -> bool:
        """Whether it is at work, and has nothing under way."""
        return self.tag is not None and not self._chunks and not self.queue

    def _again(self) -> Chunk | None:
        waiting = self.trouble.waiting
        if self.tag is None or self._retrying is not None or not waiting or self.queue.deep(self.limit):
            return None
        offsets = waiting.due(self.limit, keep_order=self.trouble.policy.keep_order)
        rows = self.state.get_many([row_key(offset) for offset in offsets])
        records = unpack(offsets, rows)
        if not records:
            return None
        self._retrying = self.chunk(records, retry=True)
        return self._retrying

    def settle(self, chunk: Chunk) -> None:
        """Note that the agent is done with a chunk."""
        with suppress(ValueError):  # it is not there any more after a failure
            self._chunks.remove(chunk)
        if self._retrying is chunk:
            self._retrying = None
        self.engine.wake(self.source.topic)

    def agent_failed(self, failure: Exception) -> None:
        """Note that the agent has failed outside of a commit: whatever it had is fetched again."""
        if self._chunks:
            self.fail(self._chunks[0], failure, by_agent=True)
            self._chunks.clear()

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
        out.tally.records = len(self.take(chunk))
        self._stage(changes, out.updates, deliveries, out.tally)
        if found.refused is not None:
            # What the limit lets pass is committed, so that it can be looked at; nothing after it.
            self.tag = None
            self._last = self.trouble.too_many(found.refused)

    def _stage(self, changes: Any, updates: Updates, sent: list[asyncio.Future[Any]], tally: Tally) -> None:
        self.state.stage(changes)
        position = (self.accepted, self.watermark, self.applied, self.trouble.flood.counts)
        self.queue.add(Staged(changes, updates, sent, *position, tally))
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
            self._stop(failure, at, by_agent=by_agent)

    def _stop(self, failure: Exception, at: int | None = None, *, by_agent: bool = False) -> None:
        self.tag = None
        self._failure, self._blame = failure, (at, by_agent)
        self._changed.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._acquire()
                await self._commit()
            except self.engine.wiring.fenced as exc:
                # The group must be giving it to another worker; taking it back would only fence that one.
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
        self.queue.drop()
        self._retrying = None

    async def _acquire(self) -> None:
        began = time.monotonic()
        await self.pinned.wait()
        if not hasattr(self, "state"):
            self.state = self.engine.wiring.open_state(self.source, self.number)
        await restore(self.name, self.state, self.engine.restore_seconds)
        topic, wiring, position = self.source.topic, self.engine.wiring, self.state.position
        offset = await self.engine.begin(TopicPartition(topic, self.number), self.state)
        self.accepted = await self.engine.start_of(topic, self.number) if offset is None else offset
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
        self.tag = self.incoming.move(self.accepted)
        self.engine.restored()
        logger.info(
            "%s: ready at offset %d, %d records of its state log read in %.1f s",
            self.name,
            self.accepted,
            self.state.progress.records,
            time.monotonic() - began,
        )

    async def _commit(self) -> None:
        queue = self.queue
        while True:
            if not queue and self._last is not None:
                raise self._last
            while not queue and self._failure is None:
                self._changed.clear()
                await self._changed.wait()
            if self._failure is not None:
                raise self._failure
            await asyncio.gather(*queue.first(1)[0].deliveries)
            if self.tag is not None:
                await self.engine.tick()
            # Whatever else has been delivered by now goes into the same commit.
            ready = queue.delivered()
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
        group = self.queue.first(count)
        changes, updates = merged(group, self.engine.wiring.new_changes)
        if updates:
            await flush_updates(self, updates, told)
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
        self.queue.committed(count)
        self.engine.wake(self.source.topic)

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait for what is under way to be committed."""
        self.tag = None
        with suppress(TimeoutError):
            await asyncio.wait_for(self.queue.empty.wait(), seconds)

    async def close(self) -> None:
        """Stop, and release the state."""
        self.tag = None
        if self._task is not None:
            await cancel(self._task)
        self._drop()
        if hasattr(self, "state"):
            self.state.close()
            del self.state
