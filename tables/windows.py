"""Aggregates per key and window of event time."""

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from tables.replica import Changes
from tables.table import Out, Range, Reader, iso

A = TypeVar("A")
V_contra = TypeVar("V_contra", contravariant=True)
V = TypeVar("V")

_START = struct.Struct(">q")


class Aggregate(Protocol[A, V_contra]):
    """How the events of a window become one value.

    Attributes:
        type: type of the value; anything that MessagePack can hold.
    """

    type: type[A]

    def zero(self) -> A:
        """Return the value of no events."""
        ...

    def add(self, total: A, value: V_contra) -> A:
        """Return the value with one more event; may change `total`."""
        ...

    def merge(self, total: A, more: A) -> A:
        """Return the value of two stretches of events; may change `total`."""
        ...

    def result(self, total: A) -> dict[str, Any]:
        """Return the value as it is shown: JSON fields."""
        ...


class Count:
    """Number of events.

    Args:
        field: name of the number where it is shown.
    """

    type = int

    def __init__(self, field: str = "count") -> None:
        self.field = field

    def zero(self) -> int:
        """Return the value of no events."""
        return 0

    def add(self, total: int, value: object) -> int:  # noqa: ARG002 (every event counts one)
        """Count one more event."""
        return total + 1

    def merge(self, total: int, more: int) -> int:
        """Add two counts."""
        return total + more

    def result(self, total: int) -> dict[str, Any]:
        """Return the number under its name."""
        return {self.field: total}


class Window(NamedTuple):
    """One window of one key; `start` is its first second, `end` the first after it."""

    key: str
    start: int
    end: int
    result: dict[str, Any]


class Windowed(ABC, Generic[A]):
    """Rows of a value per key and window, and how they are asked for.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        value: what is kept of a window.
    """

    kind: str

    def __init__(self, name: str, *, size: timedelta, value: Aggregate[A, Any]) -> None:
        self.name = name
        self.derived: bytes | None = None
        self.size = int(size.total_seconds())
        if self.size != size.total_seconds() or self.size <= 0:
            raise ValueError(f"window of table {name!r}: {size} is not a positive number of whole seconds")
        self.value = value
        self._prefix = f"{name}\0".encode()

    @abstractmethod
    def decode(self, raw: bytes | None) -> A:
        """Return a row's value; None is the value of no events."""

    def row_key(self, key: str, start: int) -> bytes:
        """Return the key of a window's row."""
        return b"%s%s\0%s" % (self._prefix, key.encode(), _START.pack(start))

    def window(self, key: str, start: int, total: A) -> Window:
        """Return a window as it is shown."""
        return Window(key, start, start + self.size, self.value.result(total))

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:  # noqa: ARG002 (the same for all partitions)
        """Return the length of the windows."""
        return {"window_seconds": self.size}

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any]:
        """Return a key's windows, the oldest first, each summed over the partitions, and their total.

        The total is of all windows of the range; `next` is the start of the first one beyond the limit.
        """
        windows: dict[int, A] = {}
        total = self.value.zero()
        for reader in readers:
            for start, value in self.between(reader, key, rows.start, rows.end):
                windows[start] = self.value.merge(windows.get(start, self.value.zero()), value)
                total = self.value.merge(total, value)
        shown = sorted(windows)
        answer: dict[str, Any] = {
            "windows": [
                {"start": iso(start), "end": iso(start + self.size), **self.value.result(windows[start])}
                for start in shown[: rows.limit]
            ],
            "total": self.value.result(total),
        }
        if len(shown) > rows.limit:
            answer["next"] = iso(shown[rows.limit])
        return answer

    def between(self, reader: Reader, key: str, start: int, end: int) -> Iterator[tuple[int, A]]:
        """Yield start and value of a key's committed windows with start <= window start < end, in order."""
        first, last = self.row_key(key, start), self.row_key(key, end)
        for row, raw in reader.scan_committed(first, last):
            if len(row) == len(first):  # not of another key that begins with this one and a zero byte
                yield _START.unpack_from(row, len(row) - _START.size)[0], self.decode(raw)

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Do nothing: a window's row is all there is of it."""


class WindowTable(Windowed[A], Generic[A, V]):
    """Tumbling windows: each event is in exactly one, by its event time; see `Windowed`."""

    def __init__(self, name: str, *, size: timedelta, value: Aggregate[A, V]) -> None:
        super().__init__(name, size=size, value=value)
        self.kind = f"tumbling windows of {size}"
        self._decode = msgspec.msgpack.Decoder(value.type).decode

    def open(self, out: Out, *, changed: Callable[[Window], None] | None = None) -> "Windows[A, V]":
        """Use the table in the commit of a batch.

        Args:
            out: the commit.
            changed: called at the end for each window that the batch has changed; what it sends has the
                last event that changed the window as its origin.
        """
        return Windows(self, out, changed)

    def decode(self, raw: bytes | None) -> A:
        """Return a row's value; None is the value of no events."""
        return self.value.zero() if raw is None else self._decode(raw)


class Windows(Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(self, table: WindowTable[A, V], out: Out, changed: Callable[[Window], None] | None) -> None:
        self._table = table
        self._out = out
        self._changed = changed
        # The value of each window, and the index of the last event that changed it.
        self._totals: dict[tuple[str, int], tuple[A, int]] = {}
        self._add = table.value.add
        self._zero = table.value.zero
        self._size = table.size
        out.at_end(self._fold)

    def add(self, key: str, value: V, *, at: float) -> None:
        """Add an event to the window of a key.

        Args:
            key: what is aggregated by.
            value: what the table's aggregate takes.
            at: event time, seconds since the epoch.
        """
        window = (key, int(at // self._size) * self._size)
        known = self._totals.get(window)
        total = self._zero() if known is None else known[0]
        self._totals[window] = (self._add(total, value), self._out.index)

    def _fold(self, changes: Changes) -> None:
        table, out, changed = self._table, self._out, self._changed
        keys = [table.row_key(key, start) for key, start in self._totals]
        for row, raw, (window, (more, last)) in zip(keys, out.read(keys), self._totals.items(), strict=True):
            total = table.value.merge(table.decode(raw), more)
            changes.rows[row] = msgspec.msgpack.encode(total)
            if changed is not None:
                out.index = last  # the update's origin, which says how new it is
                changed(table.window(*window, total))
