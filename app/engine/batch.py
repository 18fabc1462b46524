"""What an agent works with: a batch of events of one partition, and its commit."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import faust
from aiokafka.structs import ConsumerRecord

from app.engine.producer import Headers, Record, append, partition_for

if TYPE_CHECKING:
    from app.engine.partition import Partition

E = TypeVar("E")

ORIGIN = "origin"
REPLAY_OF = "replay-of"


class Chunk:
    """Records of one partition as they were fetched together.

    Attributes:
        tag: number of the fetch position's last move; records fetched before it are not wanted any more.
    """

    __slots__ = ("partition", "records", "tag")

    def __init__(self, partition: "Partition", records: Sequence[ConsumerRecord], tag: int) -> None:
        self.partition = partition
        self.records = records
        self.tag = tag


class Batch(Generic[E]):
    """Valid events of one partition, in the order of their offsets.

    The events are known once `commit()` is entered: what is invalid has become a dead letter by then,
    and what the state holds already has been left out.

    Attributes:
        events: the events.
        offsets: their offsets.
        origins: as `offsets`; for an event that was sent again by a replay, its first offset.
        watermarks: for each event, the largest event time up to and with it, seconds since the epoch.
    """

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._out: Out | None = None
        self.events: list[E] = []
        self.offsets: list[int] = []
        self.origins: list[int] = []
        self.watermarks: list[float] = []

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[E]:
        out = self._out
        assert out is not None, "events are known inside of `async with batch.commit()`"
        versions = self.offsets
        for event, out.offset, out.at, out.version in zip(
            self.events, self.origins, self.offsets, versions, strict=True
        ):
            yield event

    def commit(self) -> AbstractAsyncContextManager["Out"]:
        """Apply the batch when the block ends: outputs first, then all tables and the position at once.

        Nothing leaves the block by exception: the batch is fetched again, and its changes are dropped.
        """
        return _Commit(self, self._chunk)


Batches = AsyncIterable[Batch[E]]


class Outputs:
    """Records for one topic, as columns: thousands of small objects would keep the garbage collector busy.

    Attributes:
        keys: the records' keys.
        values: their values.
        origins: offsets of the events that they come from.
        headers: further headers, by index, of the few that have any.
    """

    __slots__ = ("headers", "keys", "origins", "values")

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.origins: list[int] = []
        self.headers: dict[int, Headers] = {}

    def records(self, prefix: bytes, indices: Iterable[int] | None = None) -> Iterator[Record]:
        """Yield the records, or those with the indices; `prefix` is what their origins begin with."""
        keys, values, origins, headers = self.keys, self.values, self.origins, self.headers
        for i in range(len(keys)) if indices is None else indices:
            more = headers.get(i, ()) if headers else ()
            yield keys[i], values[i], [(ORIGIN, b"%s%d" % (prefix, origins[i])), *more]


class Out:
    """Where a batch's outputs and table changes are gathered.

    Attributes:
        partition: number of the source partition.
        offset: offset of the event that the agent is at: the origin of what it sends.
        at: the same, but for an event that was replayed its own offset, not its first.
        version: grows with each event of the partition that changes its tables.
        end: offset after the last record of the batch.
        watermark: the largest event time before this batch, seconds since the epoch.
    """

    def __init__(self, owner: "Partition", end: int, watermark: float) -> None:
        self._owner = owner
        self._state = owner.state
        self._encode = owner.engine.wiring.encode
        self._folds: list[Callable[[Any], None]] = []
        self._outputs: dict[str, Outputs] = defaultdict(Outputs)
        self.partition = owner.number
        self.offset = self.at = self.version = end - 1
        self.end = end
        self.watermark = watermark

    def send(self, topic: faust.Topic, *, key: str | None, value: Any) -> None:
        """Send a record, with the event that the agent is at as its origin.

        Args:
            topic: an output topic of `app.topics`.
            key: the record's key.
            value: a Record's twin, or anything else that is JSON.
        """
        outputs = self._outputs[topic.topics[0]]
        outputs.keys.append(None if key is None else key.encode())
        outputs.values.append(self._encode(value))
        outputs.origins.append(self.offset)

    def dead_letter(self, record: ConsumerRecord, code: str, reason: str) -> None:
        """Send a record that is no event to the dead letters, with its bytes as they are."""
        outputs = self._outputs[self._owner.source.dead_letters]
        outputs.headers[len(outputs.keys)] = [
            ("code", code.encode()),
            ("reason", reason.encode()),
            ("time", b"%d" % record.timestamp),
            *((key, value) for key, value in record.headers if key == REPLAY_OF),
        ]
        outputs.keys.append(record.key)
        # Kafka takes no record without key and value.
        outputs.values.append(b"" if record.key is None and record.value is None else record.value)
        outputs.origins.append(record.offset)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read rows as they are before this batch."""
        return self._state.get_many(keys)

    def get_committed(self, key: bytes) -> bytes | None:
        """Read a row as of the last commit."""
        return self._state.get_committed(key)

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows as of the last commit."""
        return self._state.scan_committed(start, end)

    def at_end(self, fold: Callable[[Any], None]) -> None:
        """Have `fold` add a table's changes when the agent's block has ended well."""
        self._folds.append(fold)

    def changes(self) -> Any:
        """Gather what the tables have changed."""
        changes = self._owner.engine.wiring.new_changes()
        for fold in self._folds:
            fold(changes)
        return changes

    def forget(self) -> None:
        """Break the circle of a commit and its tables, so that a batch's memory is free at once."""
        self._folds.clear()

    async def flush(self) -> list[asyncio.Future[Any]]:
        """Hand the outputs to the producer; the futures are their deliveries."""
        engine = self._owner.engine
        producer = engine.producer
        prefix = f"{self._owner.name}/".encode()
        deliveries: list[asyncio.Future[Any]] = []
        for topic, outputs in self._outputs.items():
            if topic in engine.copartitioned:
                deliveries += await append(producer, topic, self.partition, outputs.records(prefix))
                continue
            count = len(await producer.partitions_for(topic))
            by_partition: dict[int, list[int]] = defaultdict(list)
            for i, key in enumerate(outputs.keys):
                by_partition[0 if key is None else partition_for(key, count)].append(i)
            for number, indices in by_partition.items():
                deliveries += await append(producer, topic, number, outputs.records(prefix, indices))
        return deliveries


class _Commit(AbstractAsyncContextManager[Out]):
    def __init__(self, batch: Batch[Any], chunk: Chunk) -> None:
        self._batch = batch
        self._chunk = chunk
        self._owner = chunk.partition
        self._records: Sequence[ConsumerRecord] = []

    async def __aenter__(self) -> Out:
        owner, batch = self._owner, self._batch
        records = self._records = owner.begin(self._chunk)
        out = Out(owner, records[-1].offset + 1 if records else owner.accepted, owner.watermark)
        batch._out = out
        if records:
            self._decode(out)
        return out

    def _decode(self, out: Out) -> None:
        batch, owner, records = self._batch, self._owner, self._records
        source = owner.source
        decoded = source.decode(records)
        good = [i for i, event in enumerate(decoded) if not isinstance(event, Exception)]
        if len(good) < len(decoded):
            for record, event in zip(records, decoded, strict=True):
                if isinstance(event, Exception):
                    out.dead_letter(record, event.code, event.reason)  # type: ignore[attr-defined] # see Source
        batch.events = [decoded[i] for i in good]
        batch.offsets = [records[i].offset for i in good]
        batch.origins = [_origin(record) if (record := records[i]).headers else record.offset for i in good]
        times = map(source.event_time, batch.events)
        batch.watermarks = list(accumulate(times, max, initial=owner.watermark))[1:]

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        owner, batch, out = self._owner, self._batch, self._batch._out
        assert out is not None
        try:
            if isinstance(exc, Exception):
                owner.fail(self._chunk, exc)
            elif exc is None and self._records and owner.wants(self._chunk):
                watermark = batch.watermarks[-1] if batch.watermarks else owner.watermark
                await owner.stage(self._chunk, out, watermark)
        except Exception as failure:  # a bug in a table, or a producer that is gone
            owner.fail(self._chunk, failure)
        finally:
            out.forget()
            owner.settle(self._chunk)
        return isinstance(exc, Exception)


def _origin(record: ConsumerRecord) -> int:
    """Return the first offset of an event that was sent again to the partition it came from."""
    first = dict(record.headers).get(REPLAY_OF)
    if first is not None:
        topic, _, rest = first.rpartition(b"/")[0].rpartition(b"/")
        if (topic, rest) == (record.topic.encode(), b"%d" % record.partition):
            number = first.rpartition(b"/")[2]
            if number.isdigit():
                return int(number)
    return int(record.offset)
