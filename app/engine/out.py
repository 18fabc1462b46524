"""Where a batch's outputs and table changes are gathered."""

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import faust

from app.engine.meters import Tally, add
from app.engine.producer import Headers, Record, Target, append_each, partition_for
from app.engine.source import ConsumerRecord
from app.engine.traced import Trace

if TYPE_CHECKING:
    from app.engine.partition import Partition

ORIGIN = "origin"
REPLAY_OF = "replay-of"


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

    def records(self, prefix: bytes, traces: Mapping[int, Trace]) -> Iterator[Record]:
        """Return the records; `prefix` is what their origins begin with, `traces` those of the events."""
        headers: list[Headers] = [[(ORIGIN, b"%s%d" % (prefix, origin))] for origin in self.origins]
        for i, more in self.headers.items():
            headers[i] += more
        if traces:
            for i, origin in enumerate(self.origins):
                if origin in traces:
                    headers[i] += traces[origin].headers
        return zip(self.keys, self.values, headers, strict=True)


class Update(NamedTuple):
    """A record that takes the place of earlier ones."""

    key: bytes | None
    value: Any
    origin: int
    trace: Trace | None


Updates = dict[tuple[str, Hashable], Update]
"""By topic, and by what the record is about."""


class Out:
    """Where a batch's outputs and table changes are gathered.

    Attributes:
        partition: number of the source partition.
        index: which event of the batch the agent is at: the origin of what it sends; -1 before the first.
        end: offset after the last record of the batch.
        serial: number of events that the partition has taken in with this batch.
        watermark: the watermark before this batch, seconds since the epoch.
        watermarks: for each event of the batch, the watermark up to and with it; then those that it moves
            to behind them.
        cache: see `tables.table.Out`.
        pinned: how reference topics are looked up.
        updates: what `update` was called for.
        tally: what the batch has come to.
    """

    def __init__(self, owner: "Partition") -> None:
        self._owner = owner
        self._state = owner.state
        self._encode = owner.engine.wiring.encode
        self._folds: list[Callable[[Any], None]] = []
        self._outputs: dict[str, Outputs] = defaultdict(Outputs)
        self.updates: Updates = {}
        self.tally = Tally()
        self._began = time.monotonic()
        self.partition = owner.number
        self.end = owner.accepted
        self.serial = self._first = owner.applied
        self.watermark = owner.watermark
        self.cache = owner.state.cache
        self.pinned = owner.pinned
        self.index = -1
        self.watermarks: list[float] = []
        self._moves: tuple[int, list[float]] = (0, [])
        self._offsets = self._origins = [self.end - 1]
        self._records: Sequence[ConsumerRecord] = []

    def begin(
        self,
        records: Sequence[ConsumerRecord],
        offsets: list[int],
        origins: list[int],
        watermarks: list[float],
        moves: list[tuple[float, int]] | None,
    ) -> None:
        """Take note of the batch's events, and of what moves the watermark.

        Args:
            records: the events' records.
            offsets: their offsets.
            origins: their origins.
            watermarks: the watermark at each of them.
            moves: each watermark that it is moved to, with the offset of what does so; None if the events do.
        """
        before = self._offsets  # at index -1
        self.tally.sample(records)
        self._records = records
        self.serial = self._first + len(offsets)
        self.watermarks, self._moves = watermarks, (0, watermarks)
        if moves:
            reached, marks = map(list, zip(*moves, strict=True))
            self.watermarks, self._moves = [*watermarks, reached[-1]], (len(offsets), reached)
            before = marks + before
        self._offsets, self._origins = offsets + before, origins + before

    @property
    def version(self) -> int:
        """A number that grows with each event that the partition's tables take in."""
        return self._first + self.index + 1

    def passed(self, at: float) -> None:
        """Be at what has moved the watermark to `at` or beyond, so that it is the origin of what is sent."""
        first, reached = self._moves
        self.index = first + bisect_left(reached, at)

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
        outputs.origins.append(self._origins[self.index])

    def update(self, topic: faust.Topic, *, key: str | None, value: Any, of: Hashable) -> None:
        """Send a record that takes the place of earlier ones, with the agent's event as its origin.

        It is sent when the batch is committed; of several batches in one commit, the last one's only.

        Args:
            topic: an output topic of `app.topics`.
            key: the record's key.
            value: as for `send`; it must not be changed any more.
            of: what the record is about: it replaces those of the same.
        """
        raw = None if key is None else key.encode()
        origin = self._origins[self.index]
        self.updates[topic.topics[0], of] = Update(raw, value, origin, self.tally.traces.get(origin))

    def dead_letter(self, record: ConsumerRecord, code: str, reason: str) -> None:
        """Send a record that is no event to the dead letters, with its bytes as they are."""
        add(self.tally.dead, code)
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

    def late(self, table: str, by: float) -> None:
        """Send the event that the agent is at to the late ones; see `tables.table.Out`."""
        late, record = self._owner.source.late, self._records[self.index]
        assert late is not None, "`keep` has seen to it"
        add(self.tally.late, table)
        outputs = self._outputs[late]
        outputs.headers[len(outputs.keys)] = [
            ("table", table.encode()),
            ("late-by", b"%.3f" % by),
            ("time", b"%d" % record.timestamp),
        ]
        outputs.keys.append(record.key)
        outputs.values.append(record.value)
        outputs.origins.append(self._origins[self.index])

    def repeated(self, table: str, count: int) -> None:
        """Note that a table has seen so many of the batch's events before."""
        add(self.tally.duplicates, table, count)

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows as they are before this batch, in order."""
        return self._state.scan(start, end)

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
        # A table's output is of the batch's last event that changed the row: of that, not of what it repeats.
        self._origins = self._offsets
        for fold in self._folds:
            fold(changes)
        return changes

    def forget(self) -> None:
        """Break the circle of a commit and its tables, so that a batch's memory is free at once."""
        self._folds.clear()

    async def flush(self) -> list[asyncio.Future[Any]]:
        """Hand the outputs to the producer; the futures are their deliveries."""
        targets = await _targets(self._owner, self._outputs, self.tally, self.tally.traces)
        deliveries = await append_each(self._owner.engine.producer, targets)
        self.tally.seconds = time.monotonic() - self._began
        return deliveries


async def flush_updates(owner: "Partition", updates: Updates, tally: Tally) -> None:
    """Send a commit's updates, count them, and wait until they are delivered."""
    encode = owner.engine.wiring.encode
    by_topic: dict[str, Outputs] = defaultdict(Outputs)
    traces: dict[int, Trace] = {}
    for (topic, _), (key, value, origin, trace) in updates.items():
        if trace is not None:
            traces[origin] = trace
        outputs = by_topic[topic]
        outputs.keys.append(key)
        outputs.values.append(encode(value))
        outputs.origins.append(origin)
    await owner.engine.together.send(await _targets(owner, by_topic, tally, traces))


async def _targets(
    owner: "Partition", by_topic: Mapping[str, Outputs], tally: Tally, traces: Mapping[int, Trace]
) -> dict[Target, Iterable[Record]]:
    """Count outputs, and return the records of each partition that they go to."""
    engine = owner.engine
    prefix = f"{owner.name}/".encode()
    targets: dict[Target, Iterable[Record]] = {}
    for topic, outputs in by_topic.items():
        records = outputs.records(prefix, traces)
        tally.outputs[topic] = len(outputs.keys)
        if topic in engine.copartitioned:
            targets[topic, owner.number] = records
            continue
        count = len(await engine.producer.partitions_for(topic))
        by_partition: dict[Target, list[Record]] = defaultdict(list)
        for record in records:
            key = record[0]
            by_partition[topic, 0 if key is None else partition_for(key, count)].append(record)
        targets |= by_partition
    return targets
