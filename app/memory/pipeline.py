"""The engine and its agents, on topics in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from inspect import unwrap
from typing import Any

from aiokafka.structs import TopicPartition
from faust.types import TP

from app.engine.batch import Batch, Chunk
from app.engine.engine import Engine
from app.engine.partition import Partition
from app.engine.reference import Copy, References
from app.engine.source import Source, State
from app.engine.transport import topics_of
from app.memory.kafka import MemoryKafka

# Later than any event; whole, so that windows find it.
END_OF_TIME = float(1 << 53)


class AgentFailedError(Exception):
    """The worker would have ended: an agent has failed beyond its error policy."""


class _References(References):
    """Copies that are read when `follow` is called."""

    def __init__(self, engine: Engine, kafka: MemoryKafka) -> None:
        super().__init__(engine)
        self._kafka = kafka

    def read(self, copy: Copy) -> None:
        topic = copy.reference.topic
        for number in range(self._kafka.partitions):
            records = self._kafka.records(topic, number, copy.next.get(number, 0))
            copy.apply(number, records, self._kafka.end(topic, number))
        copy.ready.set()

    def follow(self) -> None:
        for copy in self.copies.values():
            self.read(copy)


class _Engine(Engine):
    references: _References

    def __init__(
        self, engine: Engine, kafka: MemoryKafka, open_state: Callable[[Source, int], State]
    ) -> None:
        super().__init__(
            engine.app,
            replace(engine.wiring, open_state=open_state),
            chunk_records=engine.chunk_records,
            standbys_wanted=0,
            restore_seconds=engine.restore_seconds,
            dlq_limit=engine.dlq_limit,
        )
        self.sources, self.policies = engine.sources, engine.policies
        self.copartitioned, self.tracer = engine.copartitioned, engine.tracer
        self.references = _References(self, kafka)
        self.commit_seconds = self.reference_seconds = 0.0
        self._kafka = kafka

    @property
    def producer(self) -> Any:
        return self._kafka

    @property
    def producer_works(self) -> bool:
        return True

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        offsets: dict[str, int] = state.position.offsets
        return offsets.get(source.topic)

    async def end(self, source: TopicPartition) -> int:
        return self._kafka.end(source.topic, source.partition)

    def end_of(self, tp: TP) -> int | None:
        return self._kafka.end(tp.topic, tp.partition)

    async def start_of(self, topic: str, number: int) -> int:  # noqa: ARG002 (nothing is committed to the group)
        return 0

    async def stop_worker(self, why: str) -> None:
        self.failure = why
        await asyncio.Event().wait()  # whoever calls this must not go on


class Pipeline:
    """Runs an app's agents with the engine that they have in production.

    Args:
        app: the Faust app.
        kafka: where records are and go.
        open_state: opens the state of a source partition.
        clock: tells the time, seconds since the epoch.

    Attributes:
        engine: the engine.
    """

    def __init__(
        self,
        app: Any,
        kafka: MemoryKafka,
        open_state: Callable[[Source, int], State],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.engine = _Engine(app.engine, kafka, open_state)
        self.engine.clock = clock
        self._app = app
        self._kafka = kafka
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._queues: dict[str, asyncio.Queue[Chunk]] = {}

    async def start(self) -> None:
        """Start the agents, and process what there is."""
        engine = self.engine
        for agent in self._app.agents.values():
            for topic in topics_of(agent.channel):
                if topic not in engine.sources:
                    continue
                self._queues[topic] = asyncio.Queue()
                self._tasks[topic] = asyncio.create_task(unwrap(agent.fun)(self._batches(topic)))
                for number in range(self._kafka.partitions):
                    partition = Partition(engine, engine.sources[topic], number, engine.chunk_records)
                    engine.partitions[TP(topic, number)] = partition
                    partition.start()
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
        """Move all watermarks to the end of time, of each topic when the ones before it are done."""
        for topic in self.engine.sources:
            for tp, partition in self.engine.partitions.items():
                if tp.topic == topic:
                    self._queues[topic].put_nowait(partition.move(END_OF_TIME))
            await self.settle()

    async def _batches(self, topic: str) -> AsyncIterator[Batch[Any]]:
        while True:
            yield Batch(await self._queues[topic].get())

    async def _step(self) -> bool:
        """Give each partition what it has not had; return whether any may still have something to do."""
        busy = False
        self.engine.references.follow()
        for tp, partition in self.engine.partitions.items():
            due = partition.due()
            if due is not None:
                self._queues[tp.topic].put_nowait(due)
            elif partition.ready:
                records = self._kafka.records(tp.topic, tp.partition, partition.accepted)[: partition.limit]
                if records:
                    self._queues[tp.topic].put_nowait(partition.chunk(records))
            busy |= not partition.ready or partition.accepted < self._kafka.end(tp.topic, tp.partition)
        for task in self._tasks.values():
            if task.done():
                raise AgentFailedError("an agent has ended") from task.exception()
        if self.engine.failure is not None:
            raise AgentFailedError(self.engine.failure)
        if not busy:
            return await self.engine.forward.tell()
        await asyncio.sleep(0)
        return True
