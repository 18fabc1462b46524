"""The engine: which topics are read in batches, and which of their partitions are ours."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.structs import TopicPartition
from faust.types import TP

from app.engine.assignor import OWNER_BONUS
from app.engine.batch import Chunk
from app.engine.errors import DlqLimit, ErrorPolicy
from app.engine.fetching import Fetching
from app.engine.forward import Forward
from app.engine.meters import WORK_SECONDS, Histogram, Meter, Meters
from app.engine.partition import Partition
from app.engine.peers import Lease, Peers
from app.engine.producer import Together
from app.engine.reference import References
from app.engine.restore import begin, end
from app.engine.source import Source, State, Wiring
from app.engine.standby import Standbys
from app.engine.traced import NoTracer, Tracer
from app.engine.turns import Turns
from app.engine.watchdog import end_within

logger = logging.getLogger(__name__)

# Partitions commit at multiples of it: small batches share a commit, and the commits of all partitions share
# requests. Their outputs do not wait.
COMMIT_SECONDS = 0.025
# Partitions look reference topics up as of a newer moment at most so often.
REFERENCE_SECONDS = 1.0
# After a crash they do not for events that Kafka got up to so long after the last ones.
LEASE_SECONDS = 10.0
# A rebalance waits for all workers: what is under way gets this long, then it is processed again.
DRAIN_SECONDS = 5.0
# A worker that ends by itself, because something has failed, has nothing to wait for.
FAILED_SECONDS = 10.0


class Engine:
    """Runs the batch agents of a Faust app.

    Args:
        app: the Faust app, whose transport is `app.engine.transport.Transport`.
        wiring: what the engine needs from outside.
        chunk_records: the largest number of records in a batch.
        standbys_wanted: how many workers should keep a warm copy of each partition's state, beside its owner.
        restore_seconds: how long the restore of a partition may take.
        dlq_limit: the limit of dead letters, where an agent's policy has none.

    Attributes:
        bootstrap: addresses of Kafka, host:port with commas.
        policies: what the agents' exceptions mean, by topic.
        sources: the topics that are read in batches, by name.
        copartitioned: names of the output topics whose records stay in their source's partition.
        partitions: the partitions that this worker owns.
        together: sends what partitions have at the same tick.
        fetching: fetches what the partitions have room for.
        turns: when which agent gets batches.
        joined: whether the consumer group has given this worker its partitions, be it none.
        stopping: whether the worker has been told to end.
        failure: why the worker ends by itself; None while it does not.
        followed: the partitions that the group wants this worker to be a standby of.
        url: where this worker's views are for the others; empty if it has none.
        peers: where the group's other partitions are.
        lease: until when this worker surely owns its partitions.
        standbys: the copies that it keeps of them.
        forward: tells other topics how far the partitions have come.
        references: the copies that it keeps of reference topics.
        reference_seconds: time between two steps of a partition to a newer state of them.
        lease_seconds: how far ahead a partition says which events it will look up for.
        commit_seconds: at the multiples of it partitions commit; 0 for at once.
        clock: tells the time, seconds since the epoch.
        meters: what has happened so far, by source topic.
        rebalances: how often the consumer group has given this worker its partitions.
        started: whether all of its partitions have been restored once.
        ends: offsets after the partitions' last records, as the watchdog has seen them last.
        loop_lag: how late the event loop does what is due, looked at once a second; seconds.
        tracer: follows events that ask for it.
        fresh: when its copies of partitions that it has owned were last known to be current, seconds since
            the epoch.
    """

    def __init__(
        self,
        app: faust.App,
        wiring: Wiring,
        *,
        chunk_records: int,
        standbys_wanted: int,
        restore_seconds: float,
        dlq_limit: DlqLimit,
    ) -> None:
        self.app = app
        self.standbys_wanted = standbys_wanted
        self.restore_seconds = restore_seconds
        self.dlq_limit = dlq_limit
        self.policies: dict[str, ErrorPolicy] = {}
        self.bootstrap = ""
        self.followed: set[TP] = set()
        self.url = ""
        self.peers = Peers()
        self.lease = Lease()
        self.standbys = Standbys(self)
        self.forward = Forward(self)
        self.references = References(self)
        self.reference_seconds = REFERENCE_SECONDS
        self.lease_seconds = LEASE_SECONDS
        self.fresh: dict[TP, float] = {}
        self.meters: Meters = Meters(Meter)
        self.rebalances = 0
        self.started = False
        self.ends: dict[TP, int] = {}
        self.loop_lag = Histogram(WORK_SECONDS)
        self._owned: set[TP] = set()
        self.wiring = wiring
        self.chunk_records = chunk_records
        self.sources: dict[str, Source] = {}
        self.copartitioned: set[str] = set()
        self.partitions: dict[TP, Partition] = {}
        self.fetching = Fetching(self)
        self.turns = Turns(self)
        self.commit_seconds = COMMIT_SECONDS
        self.together = Together(lambda: self.producer)
        self._tick: asyncio.Event | None = None
        self.clock: Callable[[], float] = time.time
        self.tracer: Tracer = NoTracer()
        self.joined = False
        self.stopping = False
        self.failure: str | None = None

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

    async def assign(self, assigned: Iterable[TP]) -> None:
        """Take partitions over: restore each, then let it work. Follow those that others own."""
        self.joined = True
        self.rebalances += 1
        self.forward.start()
        self._owned = {tp for tp in assigned if tp.topic in self.sources}
        self.standbys.follow(self.followed - self._owned)
        for tp in self._owned:
            if tp not in self.partitions:
                partition = Partition(self, self.sources[tp.topic], tp.partition, self.chunk_records)
                self.partitions[tp] = partition
                partition.start()
        self.restored()
        self.fetching.start()

    async def tick(self) -> None:
        """Wait for the next moment at which partitions commit: all of them go on at once."""
        seconds = self.commit_seconds
        if not seconds:
            return
        if self._tick is None:
            self._tick = asyncio.Event()
            asyncio.get_running_loop().call_later(seconds - time.monotonic() % seconds, self._go_on)
        await self._tick.wait()

    def _go_on(self) -> None:
        tick, self._tick = self._tick, None
        assert tick is not None
        tick.set()

    def wake(self, topic: str) -> None:
        """Look again at what a topic's partitions have room for, and have to offer."""
        self.fetching.room.set()
        self.turns.call(topic)

    def restored(self) -> None:
        """Note that partitions may be fetched from, and whether all have been restored once."""
        for topic in self.sources:
            self.wake(topic)
        self.started |= self.joined and all(p.committed is not None for p in self.partitions.values())

    def end_of(self, tp: TP) -> int | None:
        """Return the offset after a partition's last record, as far as it is known; None if it is not.

        The last fetch tells it, but a partition that has enough under way is not fetched from.
        """
        partition = self.partitions.get(tp)
        fetched = None if partition is None else partition.incoming.end
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

    def copies(self) -> list[tuple[str, int, float]]:
        """Return the partitions that this worker has state of, and when each copy was last current.

        The consumer's thread asks.
        """
        fresh = dict(self.fresh)
        fresh.update({tp: copy.current for tp, copy in list(self.standbys.copies.items())})
        fresh.update({tp: fresh[tp] + OWNER_BONUS for tp in self._owned if tp in fresh})
        return [(tp.topic, tp.partition, current) for tp, current in fresh.items()]

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        """Return the source's offset to go on from; see `app.engine.restore.begin`."""
        return await begin(self.bootstrap, source, state)

    async def end(self, source: TopicPartition) -> int:
        """Return the offset after a source partition's last record."""
        return await end(self.bootstrap, source)

    async def start_of(self, topic: str, number: int) -> int:
        """Return from where on a partition without a state is read, by its group's commits or settings."""
        offset: int = await self.app.consumer.start_of(TP(topic, number))
        return offset

    def offers(self, topic: str) -> list[Chunk]:
        """Return chunks for the agent of a topic, at most one of each partition."""
        return [
            chunk
            for tp, partition in self.partitions.items()
            if tp.topic == topic and (chunk := partition.offer())
        ]

    def committed(self, tp: TP) -> int | None:
        """Return the offset that may be committed for a partition."""
        partition = self.partitions.get(tp)
        return None if partition is None else partition.committed

    def agent_failed(self, topics: Iterable[str], failure: Exception) -> None:
        """Fetch again what an agent had in its hands when it failed outside of a commit."""
        names = set(topics)
        for tp, partition in self.partitions.items():
            if tp.topic in names:
                partition.agent_failed(failure)
        for name in names:
            self.turns.sleeps(name)

    async def stop_worker(self, why: str) -> None:
        """End the process: nothing is lost, since what is not in the state is fetched again."""
        logger.critical("worker stops: %s", why)
        self.failure = why
        end_within(FAILED_SECONDS)
        await self.app.crash(RuntimeError(why))
        await asyncio.sleep(60)  # whoever calls this must not go on


def engine_of(app: Any) -> Engine:
    """Return the engine of an app that has one."""
    return cast("Engine", app.engine)
