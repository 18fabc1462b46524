"""An aggregate of all events of a key, without windows: a live profile."""

import math
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from tables.aggregates import Aggregate, adder, merged
from tables.late import LateEvents
from tables.reading import Committed, keys_of_rows
from tables.replica import Changes
from tables.table import Out, Range, Reader, due_keys, iso, whole_seconds

A = TypeVar("A")
V = TypeVar("V")

# Of times, which are not negative: sorted as bytes they are sorted as numbers.
_TIME = struct.Struct(">d")


class ValueTable(Generic[A, V]):
    """A value for each key.

    Args:
        name: the table's name.
        value: what is kept of a key's events.
        keep: how long a key is kept after its last event; None for ever. It is forgotten when the partition's
            watermark is so far behind that, and its next event begins anew. An event that is itself so old,
            of a key that is not there, is late.
    """

    kind = "values"

    def __init__(self, name: str, *, value: Aggregate[A, V], keep: timedelta | None = None) -> None:
        self.name = name
        self.value = value
        self.keep = None if keep is None else whole_seconds(name, "keep", keep, least=1)
        self.grace = self.keep  # so that the source must have a place for late events
        self.add_all = adder(value)
        self._decode = msgspec.msgpack.Decoder(value.type).decode
        self._values = f"{name}\0v".encode()
        self.late_key = f"{name}\0l".encode()
        self.late = LateEvents(name, self.late_key)
        # Rows that say: look at a key when a time, not after its last event, has passed by `keep`.
        self.checks = f"{name}\1".encode()
        self.derived = None if keep is None else self.checks

    def open(
        self, out: Out, *, changed: Callable[[str, dict[str, Any]], None] | None = None
    ) -> "Values[A, V]":
        """Use the table in the commit of a batch.

        Args:
            out: the commit.
            changed: called at the end with each key that the batch has changed, and its result; what it sends
                has the key's last event as its origin.
        """
        return Values(self, out, changed)

    def row_key(self, key: str) -> bytes:
        """Return the key of a value's row."""
        return self._values + key.encode()

    def check_key(self, at: float, key: str = "") -> bytes:
        """Return the key of the row that says when to look at a key."""
        return self.checks + _TIME.pack(max(at, 0.0)) + key.encode()

    def checked(self, check_key: bytes) -> str:
        """Return the key that is to be looked at."""
        return check_key[len(self.checks) + _TIME.size :].decode()

    def decode(self, raw: bytes | None) -> tuple[float, A]:
        """Return the time of a key's last event, and its value; None is a key without events."""
        if raw is None:
            return -math.inf, self.value.zero()
        return _TIME.unpack_from(raw)[0], self._decode(raw[_TIME.size :])

    def encode(self, at: float, total: A) -> bytes:
        """Return a key's row: the time before the value, so that it is found without it."""
        return _TIME.pack(at) + msgspec.msgpack.encode(total)

    def expired(self, at: float, watermark: float) -> bool:
        """Return whether what was last changed by an event at some time is not kept any more."""
        return self.keep is not None and at + self.keep <= watermark

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add the row that says when to look at a key. Looking at one that is not due does no harm."""
        if value is not None and key != self.late_key:
            (at,) = _TIME.unpack_from(value)
            changes.derived[self.check_key(at) + key[len(self._values) :]] = b""

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return how long keys are kept, and how many events came too late for that."""
        if self.keep is None:
            return {}
        return {"keep_seconds": self.keep, "late": self.late.count(readers)}

    def query(
        self,
        readers: Sequence[Reader],
        key: str,
        rows: Range,  # noqa: ARG002 (a key has one)
    ) -> dict[str, Any] | None:
        """Return a key's value, put together from all partitions, and when its last event was."""
        stored = [reader.get_committed(self.row_key(key)) for reader in readers]
        found = [self.decode(raw) for raw in stored if raw is not None]
        if not found:
            return None
        total = merged(self.value, [total for _, total in found])
        return {"last_event": iso(max(at for at, _ in found)), "value": self.value.result(total)}

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix`, those behind `after`, in order."""
        return (key for key, _ in keys_of_rows(reader.scan_committed, self._values, prefix, after))

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return a key's value, as `query` does."""
        return self.query(readers, key, Range())


class Values(Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: ValueTable[A, V],
        out: Out,
        changed: Callable[[str, dict[str, Any]], None] | None,
    ) -> None:
        self._table = table
        self._out = out
        self._changed = changed
        # By key: time and value of the events, and their indices in the batch.
        self._events: dict[str, list[tuple[float, V, int]]] = defaultdict(list)
        self._late = table.late.open(out)
        out.at_end(self._fold)

    def add(self, key: str, value: V, *, at: float) -> None:
        """Add an event to the value of a key; if it is too late, it goes to the source's late events.

        Args:
            key: what is aggregated by.
            value: what the table's aggregate takes.
            at: event time, seconds since the epoch.
        """
        self._events[key].append((at, value, self._out.index))

    def _fold(self, changes: Changes) -> None:
        table, out = self._table, self._out
        due = self._due(changes)
        names = list(dict.fromkeys([*self._events, *due]))
        rows = [table.row_key(name) for name in names]
        told: list[tuple[int, str, A]] = []
        for name, row, raw in zip(names, rows, out.read(rows), strict=True):
            at, total, index = self._added(name, raw)
            if index >= 0:
                told.append((index, name, total))
            if table.expired(at, out.watermarks[-1]):
                if raw is not None:
                    changes.rows[row] = None
                continue
            if index >= 0:
                changes.rows[row] = table.encode(at, total)
            if table.derived is not None and (raw is None or name in due):
                changes.derived[table.check_key(at, name)] = b""
        if self._changed is not None:
            for index, name, total in sorted(told, key=lambda item: item[0]):
                out.index = index
                self._changed(name, table.value.result(total))
        self._late.fold(changes)

    def _added(self, name: str, raw: bytes | None) -> tuple[float, A, int]:
        """Add a key's events, each as the watermark was when it came.

        Returns:
            Time of the last event, value, and index of what was added last, -1 for nothing.
        """
        table, out = self._table, self._out
        last, total = table.decode(raw)
        values: list[V] = []
        added = -1
        for at, value, index in self._events.get(name, ()):
            watermark = out.watermarks[index]
            if not table.expired(last, watermark):
                last = max(at, last)
            elif not table.expired(at, watermark):
                last, total, values = at, table.value.zero(), []
            else:
                out.index = index
                self._late.tell(watermark - at - (table.keep or 0))
                continue
            values.append(value)
            added = index
        return last, table.add_all(values, total), added

    def _due(self, changes: Changes) -> set[str]:
        """Return the keys that must be looked at, and forget that they must."""
        table, out = self._table, self._out
        if table.keep is None or not out.watermarks:
            return set()
        # A little more than is due does no harm, a rounded sum of times might.
        end = table.check_key(out.watermarks[-1] - table.keep + 0.001)
        checks = due_keys(out, table.checks, end)
        for key in checks:
            changes.derived[key] = None
        return {table.checked(key) for key in checks}
