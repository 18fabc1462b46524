"""A driver for tests of agents: the real engine, with topics, state logs and rows in memory."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, cast

import msgspec
from aiokafka.structs import TopicPartition
from faust.types import TP

from app.engine.batch import Batch, Chunk
from app.engine.engine import Engine
from app.engine.partition import Partition
from app.engine.producer import partition_for
from app.engine.source import Source, State
from app.memory.kafka import MemoryKafka
from app.memory.log import MemoryLog
from app.memory.store import MemoryStore
from app.settings import settings
from tables.log import Log
from tables.state import State as TableState
from tables.store import Store
from tables.table import Range

SETTLE_SECONDS = 30.0


class AgentFailedError(AssertionError):
    """The worker would have ended: an agent has failed beyond its error policy."""


@dataclass(frozen=True)
class Output:
    """A record of a topic.

    Attributes:
        key: its key as text.
        value: its value as JSON; bytes if it is none.
        headers: its headers.
        partition: the partition that it is in.
    """

    key: str | None
    value: Any
    headers: Mapping[str, bytes]
    partition: int


class _Engine(Engine):
    """The engine on topics in memory."""

    def __init__(self, engine: Engine, kafka: MemoryKafka) -> None:
        super().__init__(
            engine.app,
            engine.wiring,
            chunk_records=engine.chunk_records,
            standbys_wanted=0,
            restore_seconds=SETTLE_SECONDS,
            dlq_limit=engine.dlq_limit,
        )
        self.sources, self.policies = engine.sources, engine.policies
        self.copartitioned = engine.copartitioned
        self.commit_seconds = 0.0
        self.logs: dict[tuple[str, int], MemoryLog] = defaultdict(MemoryLog)
        self.disks: dict[tuple[str, int], dict[bytes, bytes]] = defaultdict(dict)
        self.wiring = replace(engine.wiring, open_state=self._open)
        self._kafka = kafka
        self._tag = 0

    def _open(self, source: Source, number: int) -> State:
        at = (source.topic, number)
        store = cast(Store, MemoryStore(self.disks[at]))
        return cast(State, TableState(cast(Log, self.logs[at]), store, source.tables))

    @property
    def producer(self) -> Any:
        return self._kafka

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        offsets: dict[str, int] = state.position.offsets
        return offsets.get(source.topic)

    async def rewind(self, topic: str, number: int, offset: int | None) -> tuple[int, int]:  # noqa: ARG002 (the driver reads by position)
        self._tag += 1
        return offset or 0, self._tag

    async def stop_worker(self, why: str) -> None:
        self.failure = why
        self.room.set()
        await asyncio.Event().wait()  # whoever calls this must not go on


class Driver:
    """Runs the agents of an app on records in memory: with the engine that they have in production.

    Everything that is sent is processed, through all agents, before `send` returns.

    Args:
        app: the Faust app; the service's own if it is not given.
        partitions: of every topic.
        now: wall clock time at the start, seconds since the epoch.
    """

    def __init__(self, app: Any = None, *, partitions: int = 1, now: float | None = None) -> None:
        if app is None:
            from app.main import app  # noqa: PLC0415 (the whole service, where no other is wanted)
        self._app = app
        self._now = time.time() if now is None else now
        self._kafka = MemoryKafka(partitions)
        self._read: dict[str, int] = defaultdict(int)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._queues: dict[str, asyncio.Queue[Chunk]] = {}
        self._runner = asyncio.Runner()

    def __enter__(self) -> "Driver":
        """Start the agents."""
        self._runner.__enter__()
        self._runner.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop them."""
        self._runner.run(self._stop())
        self._runner.__exit__(kind, error, trace)

    def send(
        self,
        topic: str,
        value: Any,
        *,
        key: str | None = None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Append a record to a topic, and let the agents work until nothing is left to do.

        Args:
            topic: its name as it is declared, without a prefix.
            value: bytes as they are, or anything that is JSON.
            key: the record's key; None for the field of the value that is the source's key.
            partition: None for that of the key.
            headers: the record's headers.

        Raises:
            AgentFailedError: an agent has failed beyond its error policy.
        """
        name = settings().topic(topic)
        raw = value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)
        if key is None and isinstance(value, dict) and name in self._engine.sources:
            key = value.get(self._engine.sources[name].key)
        code = None if key is None else str(key).encode()
        if partition is None:
            partition = 0 if code is None else partition_for(code, self._kafka.partitions)
        self._kafka.now = int(self._now * 1000)
        self._kafka.put(name, partition, code, raw, headers)
        self._runner.run(self._settle())

    def read(self, topic: str) -> list[Output]:
        """Return the records of a topic that were not read yet, partition by partition."""
        name = settings().topic(topic)
        found: list[Output] = []
        for partition in range(self._kafka.partitions):
            place = f"{name}/{partition}"
            records = self._kafka.records(name, partition)
            found += [_output(record, partition) for record in records[self._read[place] :]]
            self._read[place] = len(records)
        return found

    def query(self, table: str, key: str, rows: Range | None = None) -> dict[str, Any] | None:
        """Ask a table for a key, as over HTTP."""
        for source in self._engine.sources.values():
            for known in source.tables:
                if known.name == table:
                    answer: dict[str, Any] | None = known.query(self._readers(source), key, rows or Range())
                    return answer
        raise KeyError(f"there is no table {table!r}")

    def advance(self, seconds: float) -> None:
        """Let wall clock time pass: events that wait to be tried again come when they are due."""
        self._now += seconds
        self._runner.run(self._settle())

    def restart(self, *, lose_disk: bool = False) -> None:
        """End the worker as a crash does, and start it again.

        Args:
            lose_disk: on an empty disk, so that all state comes from its log.
        """
        self._runner.run(self._restart(lose_disk))

    def _readers(self, source: Source) -> list[Any]:
        from app.web.queries import Committed  # noqa: PLC0415 (not for tests without queries)

        return [
            Committed(p.number, p.state.position.watermark, p.state)
            for tp, p in sorted(self._engine.partitions.items())
            if tp.topic == source.topic
        ]

    async def _start(self) -> None:
        self._engine = _Engine(self._app.engine, self._kafka)
        self._engine.clock = lambda: self._now
        await self._open()

    async def _open(self) -> None:
        engine = self._engine
        for agent in self._app.agents.values():
            for topic in agent.channel.topics:
                if topic not in engine.sources:
                    continue
                self._queues[topic] = asyncio.Queue()
                self._tasks[topic] = asyncio.create_task(agent.fun(self._batches(topic)))
                for number in range(self._kafka.partitions):
                    partition = Partition(engine, engine.sources[topic], number, engine.chunk_records)
                    engine.partitions[TP(topic, number)] = partition
                    partition.start()
        await self._settle()

    async def _batches(self, topic: str) -> AsyncIterator[Batch[Any]]:
        while True:
            yield Batch(await self._queues[topic].get())

    async def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._engine.release()

    async def _restart(self, lose_disk: bool) -> None:
        await self._stop()
        if lose_disk:
            self._engine.disks.clear()
        await self._open()

    async def _settle(self) -> None:
        """Process until nothing is left to do."""
        async with asyncio.timeout(SETTLE_SECONDS):
            while await self._step():
                pass

    async def _step(self) -> bool:
        """Give each partition what it has not had; return whether any may still have something to do."""
        busy = False
        engine = self._engine
        engine.room.clear()
        for tp, partition in engine.partitions.items():
            due = partition.due()
            records = self._kafka.records(*tp)
            if due is not None:
                self._queues[tp.topic].put_nowait(due)
            elif partition.tag is not None and not partition._chunks and partition.accepted < len(records):
                part = records[partition.accepted : partition.accepted + partition.limit]
                self._queues[tp.topic].put_nowait(partition.chunk(part, partition.tag))
            busy |= partition.tag is None or bool(partition._chunks) or not partition._idle.is_set()
            busy |= partition.accepted < len(records)
        for task in self._tasks.values():
            if task.done():
                raise AgentFailedError("an agent has ended") from task.exception()
        if engine.failure is not None:
            raise AgentFailedError(engine.failure)
        if busy:
            await asyncio.sleep(0)
        return busy


def _output(record: Any, partition: int) -> Output:
    key = None if record.key is None else record.key.decode()
    try:
        value = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, TypeError):
        value = record.value
    return Output(key, value, dict(record.headers), partition)
