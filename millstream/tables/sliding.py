"""Sliding windows: each event of a key has a window of the events up to and including it.

A window ends at an event time of its key. It holds the key's events of the time `size` before the end: the
start is exclusive, the end is inclusive. So it holds the events that a rule for "the last ten minutes" needs.
Events with the same key and time are stored once, in a *pane*; windows are merged from panes.

A window takes events until the partition's watermark is more than the table's *grace* beyond its end. Other
windows close when the watermark is exactly that far; here the newest event would then be too late for its own
window. So each event that is taken counts in all of its windows, and none of them has closed.
"""

import struct
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from math import inf, nextafter
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from millstream.state.readers import Committed, Scan, keys_of_places
from millstream.state.replica import Changes
from millstream.tables.aggregates import Aggregate, adder, merged
from millstream.tables.late import LateEvents
from millstream.tables.table import LATEST, Commit, Range, Reader, from_iso, iso, whole_seconds

A = TypeVar("A")
V = TypeVar("V")

# Encodes times, which are not negative: the byte order is the numeric order.
_TIME = struct.Struct(">d")
# Sums of times are rounded. A scan that is a little too wide does no harm; one that is too narrow might.
_MARGIN = 0.001


class SlidingWindow(NamedTuple):
    """One window of one key: the events after `start`, up to and including `end`."""

    key: str
    start: float
    end: float
    result: dict[str, Any]


class SlidingTable(Generic[A, V]):
    """Sliding windows by key; see this module.

    To emit a window, the table reads all of its panes. An event out of order changes one window for each
    later event time within `size` of it.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        value: the aggregate of a window.
        grace: how long after its end a window takes events.
        keep: how long after its end a window is kept, at least `grace`; None for ever.
    """

    def __init__(
        self,
        name: str,
        *,
        size: timedelta,
        value: Aggregate[A, V],
        grace: timedelta = timedelta(0),
        keep: timedelta | None = None,
    ) -> None:
        self.name = name
        self.kind = f"sliding windows of {size}"
        self.value = value
        self.size = whole_seconds(name, "window", size, least=1)
        self.grace = whole_seconds(name, "grace", grace)
        self.keep = None if keep is None else max(whole_seconds(name, "keep", keep), self.grace)
        self.add_all = adder(value)
        self._decode = msgspec.msgpack.Decoder(value.type).decode
        self._prefix = f"{name}\0".encode()
        self.late_key = self._prefix + b"\1late"
        self.late = LateEvents(name, self.late_key)
        # Derived rows that index panes by time, to close and delete windows.
        self._panes = f"{name}\1".encode()
        self.derived: bytes | None = self._panes

    def open(
        self,
        commit: Commit,
        *,
        changed: Callable[[SlidingWindow], None] | None = None,
        closed: Callable[[SlidingWindow], None] | None = None,
    ) -> "SlidingWindows[A, V]":
        """Use the table in the commit of a batch.

        Args:
            commit: the commit.
            changed: called at the end of the batch for each window that the batch has changed. The origin of
                what it sends is the last event that changed the window.
            closed: called at the end of the batch for each window that the batch has closed, with its final
                result. The origin of what it sends is the event that moved the watermark past it.
        """
        return SlidingWindows(self, commit, changed, closed)

    def row_key(self, key: str, at: float) -> bytes:
        """Return the key of a pane's row."""
        return b"%s%s\0%s" % (self._prefix, key.encode(), _TIME.pack(max(at, 0.0)))

    def pane_key(self, at: float, key: str = "") -> bytes:
        """Return the key of the derived row that indexes a pane by its time."""
        return b"%s%s%s" % (self._panes, _TIME.pack(max(at, 0.0)), key.encode())

    def pane(self, pane_key: bytes) -> tuple[float, str]:
        """Return the time and key of a pane."""
        at = len(self._panes)
        return _TIME.unpack_from(pane_key, at)[0], pane_key[at + _TIME.size :].decode()

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add, or delete, the derived row that indexes a pane."""
        if key != self.late_key:
            time = key[-_TIME.size :]
            name = key[len(self._prefix) : -_TIME.size - 1]
            changes.derived[self._panes + time + name] = None if value is None else b""

    def decode(self, raw: bytes | None) -> A:
        """Return a row's value; None is the value of no events."""
        return self.value.zero() if raw is None else self._decode(raw)

    def stored(self, scan: Scan, key: str, start: float, end: float) -> dict[float, A]:
        """Return a key's panes for windows that end from `start` up to and including `end`, by time."""
        first, last = self.row_key(key, start - self.size), self.row_key(key, end) + b"\0"
        return {
            _TIME.unpack_from(row, len(row) - _TIME.size)[0]: self.decode(raw)
            for row, raw in scan(first, last)
            if len(row) == len(first)  # else another key, which begins with this key and a zero byte
        }

    def windows(self, key: str, panes: Mapping[float, A], ends: Iterable[float]) -> Iterator[SlidingWindow]:
        """Yield a key's windows that end at the given times."""
        times = sorted(panes)
        for end in ends:
            first = bisect_right(times, end, key=lambda at: at + self.size)
            total = merged(self.value, [panes[at] for at in times[first : bisect_right(times, end)]])
            yield SlidingWindow(key, end - self.size, end, self.value.result(total))

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return the settings of the windows, and the number of late events."""
        return {
            "window_seconds": self.size,
            "grace_seconds": self.grace,
            "keep_seconds": self.keep,
            "late": self.late.count(readers),
        }

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any]:
        """Return a key's windows that end in the range, oldest first, each over all partitions.

        `next` is the end of the first window beyond the limit.
        """
        panes: dict[float, A] = {}
        oldest = 0.0
        for reader in readers:
            stored = self.stored(reader.scan_committed, key, rows.start, rows.end)
            if stored and self.keep is not None:
                # Windows that end earlier may have lost deleted panes, although their last pane is still
                # there.
                oldest = max(oldest, reader.watermark - self.keep)
            for at, value in stored.items():
                panes[at] = self.value.merge(panes[at], value) if at in panes else value
        ends = sorted(end for end in panes if max(rows.start, oldest) <= end < rows.end)
        windows = self.windows(key, panes, ends[: rows.limit])
        answer: dict[str, Any] = {
            "windows": [{"start": iso(start), "end": iso(end), **result} for _, start, end, result in windows]
        }
        if len(ends) > rows.limit:
            answer["next"] = from_iso(ends[rows.limit])
        return answer

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix` and come after `after`, in order."""
        return keys_of_places(
            reader.scan_committed, self._prefix, prefix, after, last=_TIME.pack(LATEST), skip=self.late_key
        )

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return a key's window that ends with its newest event, over all partitions; None without events."""
        first, last = self.row_key(key, 0.0), self.row_key(key, LATEST)
        end = -1.0
        for reader in readers:
            row = reader.last_committed(first, last)
            if row is not None and len(row[0]) == len(first):
                end = max(end, _TIME.unpack_from(row[0], len(first) - _TIME.size)[0])
            elif row is not None:  # a row of another key
                end = max(end, *self.stored(reader.scan_committed, key, 0.0, LATEST), -1.0)
        windows = [] if end < 0 else self.query(readers, key, Range(end, nextafter(end, inf), 1))["windows"]
        return windows[0] if windows else None


class SlidingWindows(Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: SlidingTable[A, V],
        commit: Commit,
        changed: Callable[[SlidingWindow], None] | None,
        closed: Callable[[SlidingWindow], None] | None,
    ) -> None:
        self._table = table
        self._commit = commit
        self._changed = changed
        self._closed = closed
        # By key and time: the batch index of the last event, followed by the values of all events.
        self._events: dict[str, dict[float, list[Any]]] = defaultdict(dict)
        self._totals: dict[str, dict[float, A]] = {}
        self._late = table.late.open(commit)
        commit.at_end(table, self._fold)

    def add(self, key: str, value: V, *, at: float) -> bool:
        """Add an event to the windows of a key.

        Args:
            key: the key of the windows.
            value: the input of the table's aggregate.
            at: event time, seconds since the epoch.

        Returns:
            Whether it was in time. If not, the event goes to the source's late events.
        """
        table, commit = self._table, self._commit
        watermark = commit.watermarks[commit.index]
        if at + table.grace < watermark:
            self._late.report(watermark - at - table.grace)
            return False
        pane = self._events[key].setdefault(float(at), [commit.index])
        pane[0] = commit.index
        pane.append(value)
        return True

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        panes = [(key, at) for key, times in self._events.items() for at in times]
        rows = [table.row_key(*pane) for pane in panes]
        for (key, at), row, raw in zip(panes, rows, commit.read(rows), strict=True):
            total = table.add_all(self._events[key][at][1:], table.decode(raw))
            self._totals.setdefault(key, {})[at] = total
            changes.rows[row] = msgspec.msgpack.encode(total)
            if raw is None:
                changes.derived[table.pane_key(at, key)] = b""
        if self._changed is not None:
            self._emit_changed(self._changed)
        self._late.fold(changes)
        if commit.watermarks:
            if self._closed is not None:
                self._close(self._closed, changes)
            self._expire(changes)

    def _emit_changed(self, changed: Callable[[SlidingWindow], None]) -> None:
        """Emit the windows that have an event of the batch, in the order of their last such event."""
        table, size = self._table, self._table.size
        emitted: list[tuple[int, SlidingWindow]] = []
        for key, events in self._events.items():
            panes = self._panes(key, min(events), max(events) + size)
            times = sorted(panes)
            last: dict[float, int] = {}
            for at, (index, *_) in events.items():
                for end in times[bisect_left(times, at) : bisect_left(times, at + size)]:
                    last[end] = max(index, last.get(end, index))
            emitted += [(last[window.end], window) for window in table.windows(key, panes, last)]
        for index, window in sorted(emitted, key=lambda item: (item[0], item[1].end)):
            self._commit.index = index
            changed(window)

    def _close(self, closed: Callable[[SlidingWindow], None], changes: Changes) -> None:
        """Emit the windows that the watermark has passed with this batch."""
        table, commit = self._table, self._commit
        before, now, grace = commit.watermark, commit.watermarks[-1], table.grace
        ends: dict[str, list[float]] = defaultdict(list)
        for at, key in self._found(before - grace, now - grace, changes):
            if before <= at + grace < now:
                ends[key].append(at)
        final = [
            window
            for key, times in ends.items()
            for window in table.windows(key, self._panes(key, min(times), max(times)), times)
        ]
        for window in sorted(final, key=lambda window: (window.end, window.key)):
            commit.passed(nextafter(window.end + grace, inf))  # beyond the end, not at it
            closed(window)

    def _expire(self, changes: Changes) -> None:
        """Delete the panes that are not needed for any window, including windows of future events."""
        table, commit = self._table, self._commit
        if table.keep is None:
            return
        before, now, kept = commit.watermark, commit.watermarks[-1], table.size + table.keep
        for at, key in self._found(before - kept, now - kept, changes):
            if at + table.size + table.keep < now:
                changes.rows[table.row_key(key, at)] = None
                changes.derived[table.pane_key(at, key)] = None

    def _panes(self, key: str, start: float, end: float) -> dict[float, A]:
        """Return a key's panes, including this batch; see `SlidingTable.stored`."""
        return self._table.stored(self._commit.scan, key, start, end) | self._totals.get(key, {})

    def _found(self, start: float, end: float, changes: Changes) -> list[tuple[float, str]]:
        """Return time and key of the panes from `start` to `end`, with a small margin."""
        table = self._table
        first, last = table.pane_key(start - _MARGIN), table.pane_key(end + _MARGIN)
        found = {key for key, _ in self._commit.scan(first, last)}
        found.update(
            key for key, value in changes.derived.items() if first <= key < last and value is not None
        )
        return [table.pane(key) for key in sorted(found)]
