"""A driver for tests of agents: the real engine, with topics, state logs and rows in memory."""

import asyncio
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

import msgspec

from millstream.engine.source import Source
from millstream.kafka.partitioner import partition_for
from millstream.settings import unknown_variables
from millstream.state.log import Log
from millstream.state.readers import Committed
from millstream.state.replica import Table
from millstream.state.state import State
from millstream.state.store import Store
from millstream.tables.queries import ByKey, Query
from millstream.tables.table import Range
from millstream.testing.memory_engine import Pipeline
from millstream.testing.memory_kafka import MemoryKafka
from millstream.testing.memory_log import MemoryLog
from millstream.testing.memory_store import MemoryStore
from millstream.testing.output_check import OutputCheck

SETTLE_SECONDS = 30.0


@dataclass(frozen=True)
class Output:
    """A record of a topic.

    Attributes:
        key: its key as text.
        value: its value as JSON; bytes if it is not JSON.
        headers: its headers.
        partition: its partition.
    """

    key: str | None
    value: Any
    headers: Mapping[str, bytes]
    partition: int


class Driver:
    """Runs the agents of an app on records in memory, with the engine that they have in production.

    All agents have processed everything that was sent when `send` returns.

    Args:
        app: the service's App.
        partitions: number of partitions of every topic.
        now: wall clock time at the start, seconds since the epoch.
    """

    def __init__(self, app: Any, *, partitions: int = 1, now: float | None = None) -> None:
        self._app = app
        self._now = time.time() if now is None else now
        self._kafka = MemoryKafka(partitions)
        self._outputs = OutputCheck(app)
        self._read: dict[str, int] = defaultdict(int)
        self._logs: dict[tuple[str, int], MemoryLog] = defaultdict(MemoryLog)
        self._disks: dict[tuple[str, int], dict[bytes, bytes]] = defaultdict(dict)
        self._runner = asyncio.Runner()

    def __enter__(self) -> "Driver":
        """Start the agents.

        Raises:
            DeclarationError: the service declares what cannot work; the text says what to write.
        """
        for warning in unknown_variables():
            warnings.warn(warning, stacklevel=2)
        self._runner.__enter__()
        self._pipeline = Pipeline(self._app, self._kafka, self._open, lambda: self._now)
        self._runner.run(self._pipeline.start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the agents."""
        self._runner.run(self._pipeline.stop())
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
        """Append a record to a topic, and run the agents until nothing is left to do.

        Args:
            topic: its declared name, without a prefix.
            value: bytes as they are, any JSON value, or None to delete a key.
            key: the record's key; None for the value's field that is the topic's key.
            partition: the partition; None for that of the key.
            headers: the record's headers.

        Raises:
            ValueError: there is no such topic.
            AgentFailedError: an agent has failed beyond its error policy; its exception is the cause.
            OutputError: an agent has sent what is no value of the topic's Record.
        """
        name = self._topic(topic)
        raw = value if value is None or isinstance(value, bytes) else msgspec.json.encode(value)
        if key is None and isinstance(value, dict) and (field := self._key_field(name)):
            key = value.get(field)
        code = None if key is None else str(key).encode()
        if partition is None:
            partition = 0 if code is None else partition_for(code, self._kafka.partitions)
        self._kafka.now = int(self._now * 1000)
        self._outputs.except_for(name, partition, self._kafka.end(name, partition))
        self._kafka.put(name, partition, code, raw, headers)
        self._runner.run(self._settle())

    def read(self, topic: str) -> list[Output]:
        """Return the records of a topic that were not read yet, partition by partition.

        Raises:
            ValueError: there is no such topic.
        """
        name = self._topic(topic)
        found: list[Output] = []
        for partition in range(self._kafka.partitions):
            place = f"{name}/{partition}"
            records = self._kafka.records(name, partition, self._read[place])
            found += [_output(record, partition) for record in records]
            self._read[place] += len(records)
        return found

    def query(self, table: str, key: str, rows: Range | None = None) -> dict[str, Any] | None:
        """Query a table for a key, as over HTTP."""
        found = self.ask(table, ByKey(key, rows or Range()))
        return found and {name: value for name, value in found.items() if name != "key"}

    def ask(self, table: str, query: Query) -> dict[str, Any] | None:
        """Run a query of `millstream.tables.queries` on a table, as over HTTP.

        Raises:
            ValueError: there is no such table.
            CannotAnswerError: the table cannot answer the query.
        """
        names: list[str] = []
        for source in self._pipeline.engine.sources.values():
            for known in source.tables:
                if known.name == table:
                    return query.answer(known, self._readers(source))
                names.append(known.name)
        raise ValueError(f"there is no table {table!r}; there are: {', '.join(names) or 'none'}")

    def advance(self, seconds: float) -> None:
        """Advance the wall clock; events in the retry queue are retried when they are due."""
        self._now += seconds
        self._runner.run(self._settle())

    def restart(self, *, lose_disk: bool = False) -> None:
        """Stop the worker as a crash does, and start it again.

        Args:
            lose_disk: start with an empty disk, so that all state comes from its log.
        """
        if lose_disk:
            self._disks.clear()
        self._runner.run(self._restart())

    def _topic(self, declared: str) -> str:
        """Return the name of a declared topic in Kafka."""
        name: str = self._app.settings.topic(declared)
        if name not in self._app.topic_specs:
            names = ", ".join(sorted(self._app.topic_specs))
            raise ValueError(f"the service declares no topic {declared!r}; its topics are: {names}")
        return name

    def _key_field(self, topic: str) -> str | None:
        engine = self._pipeline.engine
        known = engine.sources | {one.topic: one for one in engine.topology.references.values()}
        return known[topic].key if topic in known else None

    def _readers(self, source: Source) -> list[Committed]:
        partitions = sorted(self._pipeline.engine.partitions.items())
        states = [(p.number, p.state) for tp, p in partitions if tp.topic == source.topic]
        opened = [(number, *state.snapshot()) for number, state in states if state is not None]
        return [Committed(number, position.watermark, rows) for number, position, rows in opened]

    def _open(self, topic: str, number: int, tables: Iterable[Table]) -> State:
        store = cast(Store, MemoryStore(self._disks[topic, number]))
        return State(cast(Log, self._logs[topic, number]), store, tables)

    async def _settle(self) -> None:
        async with asyncio.timeout(SETTLE_SECONDS):
            await self._pipeline.settle()
        self._outputs.check(self._kafka)

    async def _restart(self) -> None:
        await self._pipeline.stop()
        await self._pipeline.start()


def _output(record: Any, partition: int) -> Output:
    key = None if record.key is None else record.key.decode()
    try:
        value = msgspec.json.decode(record.value)
    except (msgspec.DecodeError, TypeError):
        value = record.value
    return Output(key, value, dict(record.headers), partition)
