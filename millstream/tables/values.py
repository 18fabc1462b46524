"""Aggregates of all events of a key, without windows: for example a live profile."""

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from millstream.state.readers import Committed, keys_of_rows
from millstream.state.replica import Changes
from millstream.tables.aggregates import Aggregate, adder, merged
from millstream.tables.late import LateEvents
from millstream.tables.table import Commit, Range, Reader, due_keys, iso, whole_seconds

A = TypeVar("A")
V = TypeVar("V")

# Encodes times, which are not negative: the byte order is the numeric order.
_TIME = struct.Struct(">d")


class ValueTable(Generic[A, V]):
    """An aggregate for each key.

    Args:
        name: the table's name.
        value: the aggregate of a key's events.
        keep: how long a key is kept after its last event; None for ever. The key is deleted when the
            partition's watermark is that far ahead, and its next event starts a new value. An event that is
            itself that old is late if its key is not stored.
    """

    kind = "values"

    def __init__(self, name: str, *, value: Aggregate[A, V], keep: timedelta | None = None) -> None:
        self.name = name
        self.value = value
        self.keep = None if keep is None else whole_seconds(name, "keep", keep, least=1)
        self.grace = self.keep  # so that the source must have a late-events topic
        self.add_all = adder(value)
        self._decode = msgspec.msgpack.Decoder(value.type).decode
        self._values = f"{name}\0v".encode()
        self.late_key = f"{name}\0l".encode()
        self.late = LateEvents(name, self.late_key)
        # Derived rows that schedule the check of a key: when a time, not after its last event, is `keep` ago.
        self.checks = f"{name}\1".encode()
        self.derived = None if keep is None else self.checks

    def open(
        self, commit: Commit, *, changed: Callable[[str, dict[str, Any]], None] | None = None
    ) -> "Values[A, V]":
        """Use the table in the commit of a batch.

        Args:
            commit: the commit.
            changed: called at the end of the batch with each key that the batch has changed, and its result.
                The origin of what it sends is the key's last event.
        """
        return Values(self, commit, changed)

    def row_key(self, key: str) -> bytes:
        """Return the key of a value's row."""
        return self._values + key.encode()

    def check_key(self, at: float, key: str = "") -> bytes:
        """Return the key of the derived row that schedules the check of a key."""
        return self.checks + _TIME.pack(max(at, 0.0)) + key.encode()

    def checked(self, check_key: bytes) -> str:
        """Return the key to check."""
        return check_key[len(self.checks) + _TIME.size :].decode()

    def decode(self, raw: bytes | None) -> tuple[float, A]:
        """Return the time of a key's last event, and its value; None is a key without events."""
        if raw is None:
            return -math.inf, self.value.zero()
        return _TIME.unpack_from(raw)[0], self._decode(raw[_TIME.size :])

    def encode(self, at: float, total: A) -> bytes:
        """Encode a key's row. The time comes first, so that it can be read without the value."""
        return _TIME.pack(at) + msgspec.msgpack.encode(total)

    def expired(self, at: float, watermark: float) -> bool:
        """Return whether a value whose last event was at `at` is past its retention."""
        return self.keep is not None and at + self.keep <= watermark

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add the derived row that schedules the check of a key. An early check does no harm."""
        if value is not None and key != self.late_key:
            (at,) = _TIME.unpack_from(value)
            changes.derived[self.check_key(at) + key[len(self._values) :]] = b""

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return how long keys are kept, and the number of late events."""
        if self.keep is None:
            return {}
        return {"keep_seconds": self.keep, "late": self.late.count(readers)}

    def query(
        self,
        readers: Sequence[Reader],
        key: str,
        rows: Range,  # noqa: ARG002 (a key has one row)
    ) -> dict[str, Any] | None:
        """Return a key's value, merged over all partitions, and the time of its last event."""
        stored = [reader.get_committed(self.row_key(key)) for reader in readers]
        found = [self.decode(raw) for raw in stored if raw is not None]
        if not found:
            return None
        total = merged(self.value, [total for _, total in found])
        return {"last_event": iso(max(at for at, _ in found)), "value": self.value.result(total)}

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix` and come after `after`, in order."""
        return (key for key, _ in keys_of_rows(reader.scan_committed, self._values, prefix, after))

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return a key's value, as `query` does."""
        return self.query(readers, key, Range())


class Values(Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: ValueTable[A, V],
        commit: Commit,
        changed: Callable[[str, dict[str, Any]], None] | None,
    ) -> None:
        self._table = table
        self._commit = commit
        self._changed = changed
        # By key: time, value and batch index of each event.
        self._events: dict[str, list[tuple[float, V, int]]] = defaultdict(list)
        self._late = table.late.open(commit)
        commit.at_end(table, self._fold)

    def add(self, key: str, value: V, *, at: float) -> None:
        """Add an event to the value of a key; a late one goes to the source's late events.

        Args:
            key: the key of the value.
            value: the input of the table's aggregate.
            at: event time, seconds since the epoch.
        """
        self._events[key].append((at, value, self._commit.index))

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        due = self._due(changes)
        names = list(dict.fromkeys([*self._events, *due]))
        rows = [table.row_key(name) for name in names]
        updates: list[tuple[int, str, A]] = []
        for name, row, raw in zip(names, rows, commit.read(rows), strict=True):
            at, total, index = self._added(name, raw)
            if index >= 0:
                updates.append((index, name, total))
            if table.expired(at, commit.watermarks[-1]):
                if raw is not None:
                    changes.rows[row] = None
                continue
            if index >= 0:
                changes.rows[row] = table.encode(at, total)
            if table.derived is not None and (raw is None or name in due):
                changes.derived[table.check_key(at, name)] = b""
        if self._changed is not None:
            for index, name, total in sorted(updates, key=lambda item: item[0]):
                commit.index = index
                self._changed(name, table.value.result(total))
        self._late.fold(changes)

    def _added(self, name: str, raw: bytes | None) -> tuple[float, A, int]:
        """Add a key's events, each at the watermark of its arrival.

        Returns:
            Time of the last event, value, and batch index of the last event that was added, -1 if none was.
        """
        table, commit = self._table, self._commit
        last, total = table.decode(raw)
        values: list[V] = []
        added = -1
        for at, value, index in self._events.get(name, ()):
            watermark = commit.watermarks[index]
            if not table.expired(last, watermark):
                last = max(at, last)
            elif not table.expired(at, watermark):
                last, total, values = at, table.value.zero(), []
            else:
                commit.index = index
                self._late.report(watermark - at - (table.keep or 0))
                continue
            values.append(value)
            added = index
        return last, table.add_all(values, total), added

    def _due(self, changes: Changes) -> set[str]:
        """Return the keys to check, and delete their derived rows."""
        table, commit = self._table, self._commit
        if table.keep is None or not commit.watermarks:
            return set()
        # The margin is for rounded sums of times: to check a key too early does no harm, to miss one might.
        end = table.check_key(commit.watermarks[-1] - table.keep + 0.001)
        checks = due_keys(commit, table.checks, end)
        for key in checks:
            changes.derived[key] = None
        return {table.checked(key) for key in checks}
