"""Where a batch's outputs and table changes are gathered."""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import faust

from millstream.engine.counters import BatchStatistics, add
from millstream.engine.cursor import Cursor
from millstream.engine.outputs import Outputs, Update, Updates
from millstream.errors import DeclarationError
from millstream.kafka.headers import REPLAY_OF
from millstream.kafka.records import ConsumerRecord
from millstream.serde.json import encode
from millstream.state.replica import Changes, Table
from millstream.tables.reference import Lookups


class Commit:
    """Where a batch's outputs and table changes are gathered.

    Args:
        cursor: how far the partition has come before the batch.
        references: how reference topics are looked up.

    Attributes:
        partition: number of the source partition.
        index: index of the event that the agent is at: the origin of what it sends; -1 before the first.
        end: offset after the last record of the batch.
        serial: number of events that the partition has taken in with this batch.
        watermark: the watermark before this batch, seconds since the epoch.
        watermarks: for each event of the batch, the watermark up to and with it; then those that it moves
            to behind them.
        cache: see `millstream.tables.table.Commit`.
        references: how reference topics are looked up.
        outputs: the outputs, by topic.
        updates: the outputs that replace earlier ones.
        statistics: counts of the batch.
    """

    def __init__(self, cursor: Cursor, references: Lookups) -> None:
        self._state = state = cursor.owned_state
        self._source = cursor.source
        self._folds: list[Callable[[Changes], None]] = []
        self._opened: set[str] = set()
        self.outputs: dict[str, Outputs] = defaultdict(Outputs)
        self.updates: Updates = {}
        self.statistics = BatchStatistics()
        self._began = time.monotonic()
        self.partition = cursor.number
        self.end = cursor.accepted
        self.serial = self._first = cursor.applied
        self.watermark = cursor.watermark
        self.cache = state.cache
        self.references = references
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
        self.statistics.sample(records)
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
        """Go to what has moved the watermark to `at` or beyond: it is the origin of what is sent next."""
        first, reached = self._moves
        self.index = first + bisect_left(reached, at)

    def send(self, topic: faust.Topic, *, key: str | None, value: Any) -> None:
        """Send a record, with the event that the agent is at as its origin.

        Args:
            topic: an output topic.
            key: the record's key.
            value: a Record's twin, or anything else that is JSON.
        """
        outputs = self.outputs[topic.topics[0]]
        outputs.keys.append(None if key is None else key.encode())
        outputs.values.append(encode(value))
        outputs.origins.append(self._origins[self.index])

    def rekey(self, topic: faust.Topic, event: Any) -> None:
        """Send the event that the agent is at to a topic of the same events by another key.

        Each event may be sent to such a topic once; its readers get it once, also after a crash.

        Args:
            topic: what `app.rekeyed_topic` returned.
            event: the event, or a twin of the topic's Record.

        Raises:
            DeclarationError: the topic is no such topic of the batch's source.
        """
        name = topic.topics[0]
        key_of = self._source.rekeyed.get(name)
        if key_of is None:
            raise DeclarationError(
                f"{name} is not {self._source.topic} by another key: `app.rekeyed_topic(…)` declares such a "
                "topic, `commit.send` sends to others"
            )
        self.send(topic, key=str(key_of(event)), value=event)

    def check_rekeyed(self) -> None:
        """Check that no event was sent to a topic by another key more than once: a reader would take one.

        Raises:
            DeclarationError: one was.
        """
        for name in self._source.rekeyed:
            if name in self.outputs and len(set(origins := self.outputs[name].origins)) < len(origins):
                raise DeclarationError(
                    f"an event of {self._source.topic} was sent to {name} more than once: its readers would "
                    "take one of them; declare a further topic for the other"
                )

    def update(self, topic: faust.Topic, *, key: str | None, value: Any, of: Hashable) -> None:
        """Send a record that replaces earlier ones, with the agent's event as its origin.

        It is sent when the batch is committed; of several batches in one commit, only the last one's.

        Args:
            topic: an output topic.
            key: the record's key.
            value: as for `send`; it must not be changed any more.
            of: what the record is about: it replaces those of the same.
        """
        raw = None if key is None else key.encode()
        origin = self._origins[self.index]
        self.updates[topic.topics[0], of] = Update(raw, value, origin, self.statistics.traces.get(origin))

    def dead_letter(self, record: ConsumerRecord, code: str, reason: str) -> None:
        """Send an invalid record to the dead letters, with its bytes as they are."""
        add(self.statistics.dead, code)
        outputs = self.outputs[self._source.dead_letters]
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
        """Send the event that the agent is at to the late events; see `millstream.tables.table.Commit`."""
        late, record = self._source.late, self._records[self.index]
        assert late is not None, "`App.add_tables` has seen to it"
        add(self.statistics.late, table)
        outputs = self.outputs[late]
        outputs.headers[len(outputs.keys)] = [
            ("table", table.encode()),
            ("late-by", b"%.3f" % by),
            ("time", b"%d" % record.timestamp),
        ]
        outputs.keys.append(record.key)
        outputs.values.append(record.value)
        outputs.origins.append(self._origins[self.index])

    def repeated(self, table: str, count: int) -> None:
        """Count events of the batch that a table has seen before."""
        add(self.statistics.duplicates, table, count)

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

    def at_end(self, table: Table, fold: Callable[[Changes], None]) -> None:
        """Have `fold` add a table's changes when the agent's block has ended well.

        Raises:
            DeclarationError: the table is not attached to the source, or was opened before: of two sets of
                changes one would be lost.
        """
        if not any(known is table for known in self._source.tables):
            raise DeclarationError(
                f"table {table.name!r} is opened for {self._source.topic}, and not attached to it: "
                f"`app.add_tables(…, {table.name.replace('-', '_')})`"
            )
        if table.name in self._opened:
            raise DeclarationError(
                f"table {table.name!r} is opened twice in one commit: open it once and keep what `open` "
                "returns; two agents of a topic need a table each"
            )
        self._opened.add(table.name)
        self._folds.append(fold)

    def changes(self) -> Changes:
        """Gather what the tables have changed."""
        changes = Changes()
        # A table's output is of the batch's last event that changed the row: of that, not of what it repeats.
        self._origins = self._offsets
        for fold in self._folds:
            fold(changes)
        return changes

    def sent(self) -> None:
        """Note that the producer has the outputs."""
        self.statistics.seconds = time.monotonic() - self._began

    def forget(self) -> None:
        """Break the reference cycle of a commit and its tables, so that a batch's memory is free at once."""
        self._folds.clear()
