"""The engine and its agents, on topics in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.engine.batch import Batch
from millstream.engine.engine import Engine
from millstream.engine.reference_copies import References
from millstream.state.replica import Replica, Table
from millstream.state.state import State
from millstream.state.storage import Storage
from millstream.tables.reference import ReferenceCopy
from millstream.testing.memory_kafka import MemoryKafka

OpenState = Callable[[str, int, Iterable[Table]], State]

# Later than any event; a whole number, so that windows can compute with it.
END_OF_TIME = float(1 << 53)


class AgentFailedError(Exception):
    """An agent has failed beyond its error policy; a worker would have stopped."""


class _References(References):
    """Reference copies that are read when `follow` is called."""

    def __init__(self, kafka: MemoryKafka, clock: Callable[[], float]) -> None:
        super().__init__(str, clock)
        self._kafka = kafka

    def read(self, copy: ReferenceCopy) -> None:
        topic = copy.reference.topic
        for number in range(self._kafka.partitions):
            records = self._kafka.records(topic, number, copy.next.get(number, 0))
            copy.apply(number, records, self._kafka.end(topic, number))
        copy.ready.set()

    def follow(self) -> None:
        for copy in self.copies.values():
            self.read(copy)


class MemoryStorage:
    """Opens states in memory; see `millstream.state.storage.Storage`.

    Args:
        open_state: opens the state of a source partition.
    """

    def __init__(self, open_state: OpenState) -> None:
        self._open_state = open_state

    def log_topic(self, topic: str) -> str:
        """Return the topic's name, because the state log is not a topic here."""
        return topic

    def open(self, topic: str, number: int, tables: Iterable[Table]) -> State:
        """Open the tables of a source partition, as its owner."""
        return self._open_state(topic, number, tables)

    def open_replica(self, topic: str, number: int, tables: Iterable[Table]) -> Replica:
        """Refuse: there is only one worker."""
        raise NotImplementedError("there are no standbys in memory")


class MemoryEngine(Engine):
    """The engine on topics in memory."""

    references: _References

    def __init__(
        self, engine: Engine, kafka: MemoryKafka, storage: Storage, clock: Callable[[], float]
    ) -> None:
        self._kafka = kafka
        super().__init__(
            engine.app,
            engine.topology,
            storage,
            chunk_records=engine.chunk_records,
            standbys_wanted=0,
            restore_seconds=engine.restore_seconds,
            dead_letter_limit=engine.dead_letter_limit,
            clock=clock,
        )
        self.cause: Exception | None = None
        self.tracer = engine.tracer
        self.ticks.seconds = self.reference_timings.step_seconds = 0.0
        self.reference_timings.lease_seconds = engine.reference_timings.lease_seconds

    def _new_references(self) -> References:
        return _References(self._kafka, self.clock)

    @property
    def producer(self) -> Any:
        """The producer of all topics."""
        return self._kafka

    @property
    def producer_works(self) -> bool:
        """Whether the producer works: always."""
        return True

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        """Return the source offset to start from."""
        return state.position.offsets.get(source.topic)

    async def end(self, source: TopicPartition) -> int:
        """Return the offset after a source partition's last record."""
        return self._kafka.end(source.topic, source.partition)

    def end_of(self, tp: TP) -> int | None:
        """Return the end offset for the lag."""
        return self._kafka.end(tp.topic, tp.partition)

    async def start_of(self, topic: str, number: int) -> int:  # noqa: ARG002 (nothing is committed to the group)
        """Return the start offset of a partition without a state."""
        return 0

    async def sleep(self, seconds: float) -> None:
        """Do not wait: a test has no time."""

    async def stop_worker(self, why: str, cause: Exception | None = None) -> None:
        """Record the failure; the driver of this engine raises it."""
        self.failure, self.cause = why, cause
        await asyncio.Event().wait()  # the caller must not continue


class Pipeline:
    """Runs an app's agents with the engine that they have in production.

    Args:
        app: the Faust app.
        kafka: the topics.
        open_state: opens the state of a source partition.
        clock: returns the time, seconds since the epoch.

    Attributes:
        engine: the engine.
    """

    def __init__(
        self,
        app: Any,
        kafka: MemoryKafka,
        open_state: OpenState,
        clock: Callable[[], float] = time.time,
    ) -> None:
        app.load_agents()
        app.check()
        self.engine = MemoryEngine(app.engine, kafka, MemoryStorage(open_state), clock)
        self._app = app
        self._kafka = kafka
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._queues: dict[str, asyncio.Queue[Batch[Any]]] = {}

    async def start(self) -> None:
        """Start the agents, and process all records."""
        engine = self.engine
        for topic, agents in engine.topology.agents.items():
            self._queues[topic] = asyncio.Queue()
            self._tasks[topic] = asyncio.create_task(agents.run(self._batches(topic)))
            for number in range(self._kafka.partitions):
                engine.new_partition(TP(topic, number)).start()
        await self.settle()

    async def stop(self) -> None:
        """Stop the agents as a crash does."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self.engine.release()
        await self.engine.references.close()

    async def settle(self) -> None:
        """Process until nothing is left to do.

        Raises:
            AgentFailedError: an agent has failed beyond its error policy.
        """
        while await self._step():
            pass

    async def close_windows(self) -> None:
        """Move all watermarks to the end of time, topic by topic, each after the earlier ones are done."""
        for topic in self.engine.sources:
            for tp, partition in self.engine.partitions.items():
                if tp.topic == topic:
                    chunk = partition.offering.move(END_OF_TIME)
                    self._queues[topic].put_nowait(partition.batch(chunk))
            await self.settle()

    async def _batches(self, topic: str) -> AsyncIterator[Batch[Any]]:
        while True:
            yield await self._queues[topic].get()

    async def _step(self) -> bool:
        """Pass new records to each partition; return whether any partition may still have work."""
        busy = False
        self.engine.references.follow()
        for tp, partition in self.engine.partitions.items():
            offering, cursor = partition.offering, partition.cursor
            chunk = offering.due()
            if chunk is None and offering.ready:
                records = self._kafka.records(tp.topic, tp.partition, cursor.accepted)[: cursor.limit]
                chunk = offering.chunk(records) if records else None
            if chunk is not None:
                self._queues[tp.topic].put_nowait(partition.batch(chunk))
            busy |= not offering.ready or cursor.accepted < self._kafka.end(tp.topic, tp.partition)
        for task in self._tasks.values():
            if task.done():
                cause = None if task.cancelled() else task.exception()
                raise AgentFailedError("an agent has ended") from cause
        if self.engine.failure is not None:
            raise AgentFailedError(self.engine.failure) from self.engine.cause
        if not busy:
            return await self.engine.forwarder.forward()
        await asyncio.sleep(0)
        return True
