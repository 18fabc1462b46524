"""Files through the agents, without Kafka: what its topics would have got goes to files."""

import tempfile
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from app.engine.producer import partition_for
from app.engine.source import Source, State
from app.memory.kafka import MemoryKafka
from app.memory.log import MemoryLog
from app.memory.pipeline import Pipeline
from app.sources.record import Record
from tables.log import Entry, Log
from tables.state import State as TableState
from tables.store import Store

# Records that are given to the agents at once.
STRETCH = 16_000


class _NoLog(MemoryLog):
    """A state log that nobody will read: a replay begins with nothing, and ends for good."""

    async def append(self, entries: Sequence[Entry]) -> int:
        base = self.end
        self.end += len(entries)
        return base

    async def start(self) -> int:
        return 0


class _Files:
    """One file for each topic that gets a record."""

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
    """Run the agents over records, to their end, and close all windows.

    Args:
        app: the Faust app.
        records: what the source topic would have got, in order.
        source: name of that topic.
        partitions: of every topic: order, duplicates and windows go by them, as in Kafka.
        folder: where the topics' records go, one a line, as JSON: partition, key, value, headers.
        references: keys and values of reference topics, by their names in Kafka.

    Returns:
        Number of records of each topic.

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

        def open_state(of: Source, number: int) -> State:
            store = Store(Path(disk) / f"{of.topic}-{number}")
            return cast(State, TableState(cast(Log, _NoLog()), store, of.tables))

        def write() -> None:
            for topic in kafka.topics():
                for partition in range(partitions):
                    if topic != source and topic not in known:
                        files.write(topic, partition, kafka.records(topic, partition))
                    kafka.drop(topic, partition)

        pipeline = Pipeline(app, kafka, open_state)
        await pipeline.start()
        try:
            while stretch := list(islice(left, STRETCH)):
                kafka.now = int(pipeline.engine.clock() * 1000)
                for record in stretch:
                    number = 0 if record.key is None else partition_for(record.key, partitions)
                    kafka.put(source, number, record.key, record.value, ())
                await pipeline.settle()
                write()
            await pipeline.close_windows()
            write()
        finally:
            await pipeline.stop()
        return files.counts
