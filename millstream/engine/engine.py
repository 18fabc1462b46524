"""The engine: composes what fetches, schedules, commits and copies, and owns this worker's partitions."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.engine.counters import WORK_SECONDS, Counters, CountersByTopic, Histogram
from millstream.engine.error_policy import DeadLetterLimit, ErrorPolicy
from millstream.engine.fetcher import Fetcher
from millstream.engine.partition import Partition, Services
from millstream.engine.reference_copies import References
from millstream.engine.reference_view import ReferenceTimings
from millstream.engine.scheduler import Scheduler
from millstream.engine.shutdown import end_within
from millstream.engine.ticks import Ticks
from millstream.engine.topology import Topology
from millstream.engine.tracing import NoTracer, Tracer
from millstream.engine.watermark_forwarder import WatermarkForwarder
from millstream.kafka.assignor import OWNER_BONUS
from millstream.kafka.group import Lease, Peers
from millstream.kafka.producer import CoalescingProducer
from millstream.state import source_offsets
from millstream.state.standby import Standbys
from millstream.state.state import State
from millstream.state.storage import Storage

logger = logging.getLogger(__name__)

# A rebalance waits for all workers: what is under way gets this long, then it is processed again.
DRAIN_SECONDS = 5.0
# A worker that ends by itself, because something has failed, has nothing to wait for.
FAILED_SECONDS = 10.0


class Engine:
    """Runs the batch agents of a Faust app.

    Args:
        app: the Faust app, whose transport is `millstream.engine.transport.Transport`.
        topology: what is declared of the service.
        storage: opens the state of partitions.
        chunk_records: the largest number of records in a batch.
        standbys_wanted: how many workers should keep a warm copy of each partition's state, beside its owner.
        restore_seconds: how long the restore of a partition may take.
        dead_letter_limit: the limit of dead letters, where an agent's policy has none.
        clock: returns the time, seconds since the epoch.

    Attributes:
        bootstrap: addresses of Kafka, host:port with commas.
        partitions: the partitions that this worker owns.
        counters: what has happened so far, by source topic.
        scheduler: when which agent gets batches.
        fetcher: fetches what the partitions have room for.
        forwarder: forwards the partitions' watermarks to other topics.
        references: the copies that it keeps of reference topics.
        reference_timings: how often partitions look these up as of newer offsets.
        standbys: the copies that it keeps of other workers' partitions.
        ticks: when partitions commit.
        tracer: follows events that ask for it.
        joined: whether the consumer group has assigned partitions to this worker, possibly none.
        stopping: whether the worker was asked to stop.
        failure: why the worker ends by itself; None while it does not.
        followed: the partitions that the group wants this worker to be a standby of.
        url: where this worker's views are for the others; empty if it has none.
        peers: where the group's other partitions are.
        lease: until when this worker surely owns its partitions.
        rebalances: how often the consumer group has assigned partitions to this worker.
        started: whether all of its partitions have been restored once.
        ends: offsets after the partitions' last records, as the watchdog has seen them last.
        loop_lag: how late the event loop does what is due, looked at once a second; seconds.
        fresh: when its copies of partitions that it has owned were last known to be current, seconds since
            the epoch.
    """

    def __init__(
        self,
        app: faust.App,
        topology: Topology,
        storage: Storage,
        *,
        chunk_records: int,
        standbys_wanted: int,
        restore_seconds: float,
        dead_letter_limit: DeadLetterLimit,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self.topology = topology
        self.storage = storage
        self.chunk_records = chunk_records
        self.standbys_wanted = standbys_wanted
        self.restore_seconds = restore_seconds
        self.dead_letter_limit = dead_letter_limit
        self.clock = clock
        self.sources = topology.sources
        self.bootstrap = ""
        self.url = ""
        self.peers = Peers()
        self.lease = Lease()
        self.followed: set[TP] = set()
        self.fresh: dict[TP, float] = {}
        self.counters: CountersByTopic = CountersByTopic(Counters)
        self.rebalances = 0
        self.started = self.joined = self.stopping = False
        self.failure: str | None = None
        self.ends: dict[TP, int] = {}
        self.loop_lag = Histogram(WORK_SECONDS)
        self.tracer: Tracer = NoTracer()
        self.ticks = Ticks()
        self.reference_timings = ReferenceTimings()
        self.partitions: dict[TP, Partition] = {}
        self._owned: set[TP] = set()
        self.scheduler = Scheduler(self.partitions)
        self.fetcher = Fetcher(lambda: self.bootstrap, self.sources, self.partitions, self.scheduler.notify)
        self.forwarder = WatermarkForwarder(topology, self.partitions, lambda: self.producer, clock)
        self.references = self._new_references()
        self.standbys = Standbys(
            lambda: self.bootstrap,
            self.sources,
            storage.log_topic,
            lambda tp: storage.open_replica(tp.topic, tp.partition, self.sources[tp.topic].tables),
            self.stop_worker,
        )
        self._services = self._new_services()

    def _new_references(self) -> References:
        return References(lambda: self.bootstrap, self.clock)

    def _new_services(self) -> Services:
        return Services(
            open_state=lambda source, number: self.storage.open(source.topic, number, source.tables),
            offsets=self,
            producer=lambda: self.producer,
            coalescing=CoalescingProducer(lambda: self.producer),
            copartitioned=self.topology.copartitioned,
            references=self.references,
            reference_timings=self.reference_timings,
            dead_letter_limit=self.dead_letter_limit,
            restore_seconds=self.restore_seconds,
            tick=self.ticks.wait,
            clock=self.clock,
            tracer=lambda: self.tracer,
            stop_worker=self.stop_worker,
            sleep=self.sleep,
            session_seconds=lambda: float(self.app.conf.broker_session_timeout),
            wake=self.wake,
            restored=self.restored,
        )

    @property
    def producer(self) -> AIOKafkaProducer:
        """The app's producer, below Faust's."""
        return self.app.producer._ensure_producer()

    @property
    def producer_works(self) -> bool:
        """Whether the task runs that sends what the producer is given."""
        producer = self.app.producer._producer
        task = producer and producer._sender and producer._sender.sender_task
        return task is not None and not task.done()

    @property
    def at_work(self) -> bool:
        """Whether the group has settled who owns what."""
        return self.joined and not self.app.rebalancing

    def new_partition(self, tp: TP) -> Partition:
        """Make a partition that this worker owns from now on."""
        source, policy = self.sources[tp.topic], self.topology.policies.get(tp.topic, ErrorPolicy())
        counters = self.counters[tp.topic]
        partition = Partition(
            self._services,
            source,
            tp.partition,
            limit=self.chunk_records,
            policy=policy,
            counters=counters,
        )
        self.partitions[tp] = partition
        return partition

    async def assign(self, assigned: Iterable[TP]) -> None:
        """Take partitions over: restore each, then let it work. Follow those that others own."""
        self.joined = True
        self.rebalances += 1
        self.forwarder.start()
        self._owned = {tp for tp in assigned if tp.topic in self.sources}
        self.standbys.follow(self.followed - self._owned)
        for tp in self._owned:
            if tp not in self.partitions:
                self.new_partition(tp).start()
        self.restored()
        self.fetcher.start()

    def wake(self, topic: str) -> None:
        """Look again at what a topic's partitions have room for, and have to offer."""
        self.fetcher.room.set()
        self.scheduler.notify(topic)

    def restored(self) -> None:
        """Note that partitions may be fetched from, and whether all have been restored once."""
        for topic in self.sources:
            self.wake(topic)
        self.started |= self.joined and all(p.committed is not None for p in self.partitions.values())

    def end_of(self, tp: TP) -> int | None:
        """Return the offset after a partition's last record, as far as it is known; None if it is not.

        The last fetch reports it, but a partition that has enough under way is not fetched from.
        """
        partition = self.partitions.get(tp)
        fetched = None if partition is None else partition.buffer.end
        return max((end for end in (fetched, self.ends.get(tp)) if end is not None), default=None)

    def lag(self, tp: TP) -> int | None:
        """Return how many records of a partition are not in its state yet; None if that is not known."""
        end, committed = self.end_of(tp), self.committed(tp)
        return None if end is None or committed is None else max(0, end - committed)

    async def drain(self) -> None:
        """Accept nothing more, and wait a bounded time for what is under way."""
        self.joined = False
        await asyncio.gather(*(partition.drain(DRAIN_SECONDS) for partition in self.partitions.values()))

    async def release(self) -> None:
        """Give all partitions back."""
        partitions = dict(self.partitions)
        self.partitions.clear()
        for tp, partition in partitions.items():
            if partition.committed is not None:
                self.fresh[tp] = time.time()
        await asyncio.gather(*(partition.close() for partition in partitions.values()))

    async def stop(self) -> None:
        """Finish what is under way, and fetch nothing more."""
        await self.drain()
        await self.forwarder.stop()
        await self.fetcher.stop()

    async def close(self) -> None:
        """Release all partitions and copies."""
        await self.release()
        await self.standbys.close()
        await self.references.close()

    def copies(self) -> list[tuple[str, int, float]]:
        """Return the partitions that this worker has state of, and when each copy was last current.

        The consumer's thread calls this.
        """
        fresh = dict(self.fresh)
        fresh.update({tp: copy.current for tp, copy in list(self.standbys.copies.items())})
        fresh.update({tp: fresh[tp] + OWNER_BONUS for tp in self._owned if tp in fresh})
        return [(tp.topic, tp.partition, current) for tp, current in fresh.items()]

    def assigned(self, followed: set[TP], peers: Peers) -> None:
        """Learn what to follow, and where the other workers are. The consumer's thread calls this."""
        self.followed = followed
        self.peers = peers

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        """Return the source's offset to go on from; see `millstream.state.source_offsets.begin`."""
        return await source_offsets.begin(self.bootstrap, source, state)

    async def end(self, source: TopicPartition) -> int:
        """Return the offset after a source partition's last record."""
        return await source_offsets.end(self.bootstrap, source)

    async def start_of(self, topic: str, number: int) -> int:
        """Return from where on a partition without a state is read, by its group's commits or settings."""
        offset: int = await self.app.consumer.start_of(TP(topic, number))
        return offset

    def committed(self, tp: TP) -> int | None:
        """Return the offset that may be committed for a partition."""
        partition = self.partitions.get(tp)
        return None if partition is None else partition.committed

    def agent_failed(self, topics: Iterable[str], failure: Exception) -> None:
        """Fetch again the records that an agent had when it failed outside of a commit."""
        names = set(topics)
        for tp, partition in self.partitions.items():
            if tp.topic in names:
                partition.agent_failed(failure)
        for name in names:
            self.scheduler.sleep(name)

    async def sleep(self, seconds: float) -> None:
        """Wait before a partition begins again."""
        await asyncio.sleep(seconds)

    async def stop_worker(self, why: str, cause: Exception | None = None) -> None:  # noqa: ARG002 (the test driver raises it)
        """End the process. Nothing is lost: what is not in the state is fetched again."""
        logger.critical("worker stops: %s", why)
        self.failure = why
        end_within(FAILED_SECONDS)
        await self.app.crash(RuntimeError(why))
        await asyncio.sleep(60)  # whoever calls this must not go on


def engine_of(app: Any) -> Engine:
    """Return the engine of an app that has one."""
    return cast("Engine", app.engine)
