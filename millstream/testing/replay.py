"""Runs the agents over files, without Kafka; the topics' records go to files."""

import tempfile
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from millstream.kafka.partitioner import partition_for
from millstream.sources.record import Record
from millstream.state.log import Entry, Log
from millstream.state.replica import Table
from millstream.state.state import State
from millstream.state.store import Store
from millstream.testing.memory_engine import Pipeline
from millstream.testing.memory_kafka import MemoryKafka
from millstream.testing.memory_log import MemoryLog

# Number of records that are passed to the agents at once.
CHUNK_RECORDS = 16_000


class _NoLog(MemoryLog):
    """A state log that is never read, because a replay starts empty and is not continued."""

    async def append(self, entries: Sequence[Entry]) -> int:
        base = self.end
        self.end += len(entries)
        return base

    async def start(self) -> int:
        return 0


class _Files:
    """One file per topic that gets a record."""

    def __init__(self, folder: Path) -> None:
        self.counts = Counter[str]()
        self._folder = folder
        self._stack = ExitStack()
        self._files: dict[str, BinaryIO] = {}

    def __enter__(self) -> "_Files":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, topic: str, partition: int, records: Iterable[Any]) -> None:
        file = self._files.get(topic)
        if file is None:
            path = self._folder / f"{topic}.ndjson"
            file = self._files[topic] = self._stack.enter_context(path.open("wb"))
        for record in records:
            file.write(_line(partition, record))
            self.counts[topic] += 1


def _line(partition: int, record: Any) -> bytes:
    key = None if record.key is None else record.key.decode(errors="backslashreplace")
    fields: dict[str, Any] = {"partition": partition, "key": key}
    try:
        msgspec.json.decode(record.value)
        fields["value"] = msgspec.Raw(record.value)
    except (msgspec.DecodeError, TypeError, UnicodeDecodeError):
        fields["value_base64"] = None if record.value is None else b64encode(record.value).decode()
    fields["headers"] = {name: value.decode(errors="backslashreplace") for name, value in record.headers}
    return msgspec.json.encode(fields) + b"\n"


async def replay(
    app: Any,
    records: Iterable[Record],
    *,
    source: str,
    partitions: int,
    folder: Path,
    references: Mapping[str, Iterable[tuple[bytes, bytes]]] | None = None,
) -> Counter[str]:
    """Run the agents over all records, and close all windows.

    Args:
        app: the Faust app.
        records: the records of the source topic, in order.
        source: name of the source topic.
        partitions: number of partitions of every topic: order, duplicates and windows depend on them, as in
            Kafka.
        folder: folder for the topics' records, one per line, as JSON: partition, key, value, headers.
        references: keys and values of reference topics, by their names in Kafka.

    Returns:
        Number of records by topic.

    Raises:
        AgentFailedError: an agent has failed beyond its error policy.
    """
    kafka = MemoryKafka(partitions)
    known = references or {}
    for topic, values in known.items():
        for key, value in values:
            kafka.put(topic, partition_for(key, partitions), key, value, ())
    left = iter(records)
    with tempfile.TemporaryDirectory(prefix="millstream-replay-") as disk, _Files(folder) as files:

        def open_state(topic: str, number: int, tables: Iterable[Table]) -> State:
            return State(cast(Log, _NoLog()), Store(Path(disk) / f"{topic}-{number}"), tables)

        def write() -> None:
            for topic in kafka.topics():
                for partition in range(partitions):
                    if topic != source and topic not in known:
                        files.write(topic, partition, kafka.records(topic, partition))
                    kafka.drop(topic, partition)

        pipeline = Pipeline(app, kafka, open_state)
        await pipeline.start()
        try:
            while chunk := list(islice(left, CHUNK_RECORDS)):
                kafka.now = int(pipeline.engine.clock() * 1000)
                for record in chunk:
                    number = 0 if record.key is None else partition_for(record.key, partitions)
                    kafka.put(source, number, record.key, record.value, ())
                await pipeline.settle()
                write()
            await pipeline.close_windows()
            write()
        finally:
            await pipeline.stop()
        return files.counts
