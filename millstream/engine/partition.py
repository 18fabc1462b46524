"""A source partition that this worker owns: its parts, and its life from assignment to revocation."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer

from millstream.aio import cancel
from millstream.engine.batch import Batch
from millstream.engine.chunk import Chunk
from millstream.engine.committing import Committing
from millstream.engine.counters import BatchStatistics, Counters
from millstream.engine.cursor import Cursor
from millstream.engine.decoding import Decoding
from millstream.engine.delivery import Delivery
from millstream.engine.error_handling import ErrorHandler
from millstream.engine.error_policy import DeadLetterLimit, ErrorPolicy
from millstream.engine.fetch_buffer import FetchBuffer
from millstream.engine.idleness import Idleness
from millstream.engine.offering import Offering
from millstream.engine.processing import Processing
from millstream.engine.recovery import Recovery, StopWorker
from millstream.engine.reference_view import ReferenceCopies, ReferenceTimings, ReferenceView
from millstream.engine.source import Source
from millstream.engine.staging import CommitQueue
from millstream.engine.takeover import SourceOffsets, Takeover
from millstream.engine.tracing import Tracer
from millstream.engine.upstream_watermarks import NO_EVENTS
from millstream.kafka.producer import CoalescingProducer
from millstream.state.replica import Changes
from millstream.state.state import State


@dataclass(frozen=True)
class Services:
    """What the partitions of a worker share.

    Attributes:
        open_state: opens the tables of a source partition.
        offsets: where source partitions begin and end.
        producer: returns the producer.
        coalescing: sends what partitions have at the same tick.
        copartitioned: names of the output topics whose records stay in the partition of their source.
        references: the copies of reference topics.
        reference_timings: how often partitions look them up as of newer offsets.
        dead_letter_limit: the limit of dead letters, where an agent's policy has none.
        restore_seconds: how long the restore of a partition may take.
        tick: waits for the next moment at which partitions commit.
        clock: returns the time, seconds since the epoch.
        tracer: returns who follows events.
        stop_worker: ends the process.
        sleep: waits before a partition begins again.
        session_seconds: returns how long the group waits for a silent worker.
        wake: looks again at what a topic's partitions have room for, and have to offer.
        restored: notes that a partition may be fetched from.
    """

    open_state: Callable[[Source, int], State]
    offsets: SourceOffsets
    producer: Callable[[], AIOKafkaProducer]
    coalescing: CoalescingProducer
    copartitioned: Collection[str]
    references: ReferenceCopies
    reference_timings: ReferenceTimings
    dead_letter_limit: DeadLetterLimit
    restore_seconds: float
    tick: Callable[[], Any]
    clock: Callable[[], float]
    tracer: Callable[[], Tracer]
    stop_worker: StopWorker
    sleep: Callable[[float], Awaitable[None]]
    session_seconds: Callable[[], float]
    wake: Callable[[str], None]
    restored: Callable[[], None]


class Partition:
    """A source partition, from its assignment to its revocation.

    Args:
        services: what it shares with the others.
        source: the topic.
        number: the partition's number.
        limit: the largest number of records in a chunk.
        policy: what its agent's exceptions mean.
        counters: counts what is committed.

    Attributes:
        cursor: how far it has come.
        buffer: what was fetched and is not processed yet.
        errors: its invalid and failed events, and those that wait to be retried.
        idleness: when its watermark moves without events.
        references: as of which offsets it looks reference topics up.
        offering: what its agent gets.
    """

    def __init__(
        self,
        services: Services,
        source: Source,
        number: int,
        *,
        limit: int,
        policy: ErrorPolicy,
        counters: Counters,
    ) -> None:
        self._services = services
        self.source = source
        self.number = number
        clock = services.clock
        self.cursor = cursor = Cursor(source, number, limit)
        self.buffer = FetchBuffer()
        self.errors = ErrorHandler(cursor.name, policy, services.dead_letter_limit, clock)
        self.idleness = Idleness(source.idle, clock)
        delivery = Delivery(
            source.topic, number, services.copartitioned, services.producer, services.coalescing
        )
        self._committing = Committing(
            cursor,
            delivery,
            counters,
            tick=services.tick,
            clock=clock,
            tracer=services.tracer,
            committed=self._has_committed,
        )
        self._recovery = Recovery(
            cursor,
            self.errors,
            self._committing,
            counters,
            stop_worker=services.stop_worker,
            sleep=services.sleep,
            session_seconds=services.session_seconds,
        )
        self.offering = Offering(
            cursor,
            self.buffer,
            self.queue,
            self.errors,
            self.idleness,
            stage=self._stage,
            fail=self._recovery.fail,
        )
        self.references = ReferenceView(
            cursor,
            services.references,
            self.queue,
            self.errors,
            services.reference_timings,
            clock=clock,
            stage=self._stage,
            end=services.offsets.end,
            wants=self.offering.wants,
        )
        self._processing = Processing(
            cursor,
            offering=self.offering,
            references=self.references,
            decoding=Decoding(cursor, self.errors, services.tracer),
            delivery=delivery,
            committing=self._committing,
            errors=self.errors,
            idleness=self.idleness,
            recovery=self._recovery,
            settled=self._wake,
        )
        self._takeover = Takeover(
            cursor,
            lambda: services.open_state(source, number),
            services.offsets,
            restore_seconds=services.restore_seconds,
            references=self.references,
            errors=self.errors,
            idleness=self.idleness,
            buffer=self.buffer,
            counters=counters,
            ready=services.restored,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Topic and number, as in an origin."""
        return self.cursor.name

    @property
    def state(self) -> State | None:
        """Its tables; None before they are opened."""
        return self.cursor.state

    @property
    def queue(self) -> CommitQueue:
        """The batches that its agent is done with and that are not committed yet."""
        return self._committing.queue

    @property
    def committed(self) -> int | None:
        """Offset of the first record that is not yet in the state; None before the restore."""
        return self.cursor.committed

    @property
    def at_work(self) -> bool:
        """Whether events may be processed."""
        return self.cursor.generation is not None

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        return self.offering.full

    @property
    def has_work(self) -> bool:
        """Whether there may be a batch for the agent."""
        return self.offering.has_work

    @property
    def restore_progress(self) -> int | None:
        """How many records a restore has read or skipped; None if there is none under way."""
        if self.state is not None:
            return self.state.progress.next if self.committed is None else None
        return self.references.progress

    @property
    def reached(self) -> float | None:
        """The committed watermark; `NO_EVENTS` after a time without any; None if there is none to report."""
        if not self.at_work:
            return None
        if watermark := self.cursor.owned_state.position.watermark:
            return float(watermark)
        return NO_EVENTS if self.idleness.long else None

    def start(self) -> None:
        """Restore the state, then work until `close`."""
        run = self._recovery.run(self._take_over, self._drop)
        self._task = asyncio.create_task(run, name=f"partition {self.name}")

    def next_batch(self) -> Batch[Any] | None:
        """Return a batch for the agent; None while it has one, or there is nothing to do."""
        chunk = self.offering.offer()
        return None if chunk is None else self.batch(chunk)

    def batch(self, chunk: Chunk) -> Batch[Any]:
        """Return the batch of a chunk, for its agent."""
        return self._processing.batch(chunk)

    def agent_failed(self, failure: Exception) -> None:
        """Fetch again whatever the agent had when it failed outside of a commit."""
        if self.offering.abandon():
            self._recovery.fail(failure, by_agent=True)

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait for what is under way to be committed."""
        self.cursor.generation = None
        with suppress(TimeoutError):
            await asyncio.wait_for(self.queue.empty.wait(), seconds)

    async def close(self) -> None:
        """Stop, and release the state."""
        self.cursor.generation = None
        if self._task is not None:
            await cancel(self._task)
        self._drop()
        if self.state is not None:
            self.state.close()

    async def _take_over(self) -> None:
        await self._takeover.take_over()
        self._committing.begin()

    def _drop(self) -> None:
        self.cursor.generation = None
        self._committing.drop()
        self.offering.drop()

    def _stage(self, changes: Changes, statistics: BatchStatistics) -> None:
        self._committing.stage(changes, {}, [], statistics, self.errors.dead_letters.counts)

    def _has_committed(self) -> None:
        self.errors.failures = 0
        self._wake()

    def _wake(self) -> None:
        self._services.wake(self.source.topic)
