"""The common part of window tables: rows by key and pane, closing, lateness, retention, and queries."""

import struct
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from math import ceil
from typing import Any, Generic, NamedTuple, TypeVar

from millstream.errors import DeclarationError
from millstream.state.readers import Committed, keys_of_places
from millstream.state.replica import Changes
from millstream.tables.aggregates import Aggregate, merged
from millstream.tables.late import LateEvents
from millstream.tables.panes import Blocks, PaneMerger
from millstream.tables.ranking import largest
from millstream.tables.table import LATEST, CannotAnswerError, Commit, Range, Reader, iso, whole_seconds

A = TypeVar("A")

_START = struct.Struct(">q")
# Limit of the keys of a partition that can be ranked. Ranking more takes too long.
MOST_KEYS = 50_000


class Window(NamedTuple):
    """One window of one key; `start` is its first second, `end` the first second after it.

    Attributes:
        result: the JSON fields that show the value.
        total: the value as it is stored.
    """

    key: str
    start: int
    end: int
    result: dict[str, Any]
    total: Any


WindowCallback = Callable[[Window], None]


class Windowed(ABC, Generic[A]):
    """Stores a value by key and pane; see `millstream.tables.windows`.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        step: seconds from one window's start to the next, in whole seconds; `size` is a multiple of it.
        value: the aggregate of a window.
        grace: how long after its end a window takes events; None for as long as it is kept.
        keep: how long after its end a window is kept; None for ever.
    """

    kind: str

    def __init__(
        self,
        name: str,
        *,
        size: timedelta,
        step: timedelta,
        value: Aggregate[A, Any],
        grace: timedelta | None,
        keep: timedelta | None,
    ) -> None:
        self.name = name
        self.size = whole_seconds(name, "window", size, least=1)
        self.step = whole_seconds(name, "step", step, least=1)
        if self.size % self.step:
            raise DeclarationError(f"window of table {name!r}: {size} is not a multiple of the step, {step}")
        self.value = value
        if grace is None:
            grace = keep
        self.grace = None if grace is None else whole_seconds(name, "grace", grace)
        self.keep = None if keep is None else max(whole_seconds(name, "keep", keep), self.grace or 0)
        self._prefix = f"{name}\0".encode()
        # Derived rows that index panes by time, to close and delete windows.
        self._panes = f"{name}\1".encode()
        self.derived = None if self.grace is None else self._panes
        self.late_key = self._prefix + b"\1late"
        self.late = LateEvents(name, self.late_key)

    @abstractmethod
    def decode(self, raw: bytes | None) -> A:
        """Return a row's value; None is the value of no events."""

    def row_key(self, key: str, start: int) -> bytes:
        """Return the key of a pane's row."""
        return b"%s%s\0%s" % (self._prefix, key.encode(), _START.pack(start))

    def window(self, key: str, start: int, total: A) -> Window:
        """Return a window with its result."""
        return Window(key, start, start + self.size, self.value.result(total), total)

    def windows_of(self, pane: int) -> range:
        """Return the starts of the windows that contain a pane."""
        return range(pane + self.step - self.size, pane + self.step, self.step)

    def panes_of(self, start: int) -> range:
        """Return the starts of a window's panes."""
        return range(start, start + self.size, self.step)

    def merge_panes(self, panes: Mapping[int, A], start: int) -> A:
        """Merge the window that starts at `start` from the values of its panes, by their start."""
        if self.step == self.size:
            return panes[start]
        blocks = Blocks(self.value, self.size)
        for pane in self.panes_of(start):
            if pane in panes:
                blocks.add(pane, panes[pane])
        return blocks.total(start, start + self.size - self.step)

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return the settings of the windows, and the number of late events."""
        shown: dict[str, Any] = {"window_seconds": self.size}
        if self.step != self.size:
            shown["step_seconds"] = self.step
        if self.grace is not None:
            late = self.late.count(readers)
            shown |= {"grace_seconds": self.grace, "keep_seconds": self.keep, "late": late}
        return shown

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any]:
        """Return a key's windows, oldest first, each summed over all partitions, and their total.

        The total covers all events in windows of the range, each counted once; `next` is the start of the
        first window beyond the limit.
        """
        panes: dict[int, A] = {}
        for reader in readers:
            for pane, value in self.panes(reader, key, rows.start, rows.end + self.size - self.step):
                panes[pane] = self.value.merge(panes[pane], value) if pane in panes else value
        shown = sorted(
            {start for pane in panes for start in self.windows_of(pane) if rows.start <= start < rows.end}
        )
        answer: dict[str, Any] = {
            "windows": [
                {"start": iso(start), "end": iso(start + self.size), **self.value.result(total)}
                for start in shown[: rows.limit]
                for total in [self.merge_panes(panes, start)]
            ],
            "total": self.value.result(merged(self.value, [panes[pane] for pane in sorted(panes)])),
        }
        if len(shown) > rows.limit:
            answer["next"] = iso(shown[rows.limit])
        return answer

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix` and come after `after`, in order."""
        return keys_of_places(
            reader.scan_committed,
            self._prefix,
            prefix,
            after,
            last=_START.pack(LATEST),
            skip=self.late_key,
        )

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return a key's window that ends with its newest pane, over all partitions; None without panes."""
        first, last = self.row_key(key, 0), self.row_key(key, LATEST)
        newest = -1
        for reader in readers:
            row = reader.last_committed(first, last)
            if row is not None and len(row[0]) == len(first):
                newest = max(newest, _START.unpack_from(row[0], len(first) - _START.size)[0])
            elif row is not None:  # a row of another key
                newest = max(newest, *(pane for pane, _ in self.panes(reader, key, 0, LATEST)), -1)
        if newest < 0:
            return None
        start = self._ending_with(newest)
        shown: dict[str, Any] = self.query(readers, key, Range(start, start + 1, 1))["windows"][0]
        return shown

    def top(
        self, readers: Sequence[Committed], by: str | None, at: float | None, limit: int
    ) -> dict[str, Any]:
        """Return the keys with the largest figure in the window; of several with `at`, in the first to end.

        Raises:
            CannotAnswerError: there is no such figure, there are too many keys, or the window ends after the
                calendar.
        """
        panes: dict[str, dict[int, A]] = defaultdict(dict)
        for reader in readers:
            first = self._ending_with(self._pane_at(reader.watermark if at is None else at))
            # Another partition may be ahead, and its watermark decides the window. So later panes are needed,
            # too.
            last = LATEST if at is None else first + self.size
            for count, key in enumerate(self._keys_between(reader, first, last)):
                if count == MOST_KEYS:
                    raise CannotAnswerError(
                        f"A partition of {self.name!r} has more than {MOST_KEYS} keys then"
                    )
                known = panes[key]
                for pane, value in self.panes(reader, key, first, last):
                    known[pane] = self.value.merge(known[pane], value) if pane in known else value
        if at is None:
            at = max((reader.watermark for reader in readers), default=0.0)
            if not at:  # it is not known yet: the newest window is the last one with any pane
                at = max((pane for known in panes.values() for pane in known), default=0)
        start = self._ending_with(self._pane_at(at))
        try:
            span = {"start": iso(start), "end": iso(start + self.size)}
        except (ValueError, OverflowError):
            raise CannotAnswerError(f"The window of {self.name!r} then ends after the calendar") from None
        results = {
            key: self.value.result(self.merge_panes(known, start))
            for key, known in panes.items()
            if any(pane in known for pane in self.panes_of(start))
        }
        return {
            **span,
            **largest(self.name, results, self.value.result(self.value.zero()), by, limit),
        }

    def _pane_at(self, at: float) -> int:
        return int(at // self.step) * self.step

    def _ending_with(self, pane: int) -> int:
        return pane + self.step - self.size

    def _keys_between(self, reader: Committed, start: int, end: int) -> Iterator[str]:
        """Yield a partition's keys that have panes with start <= pane start < end."""
        if self.derived is None:
            for key in self.keys(reader, "", None):
                if next(self.panes(reader, key, start, end), None) is not None:
                    yield key
            return
        known = set()
        for row, _ in reader.scan_committed(self.pane_key(start), self.pane_key(end)):
            _, key = self.pane(row)
            if key not in known:
                known.add(key)
                yield key

    def panes(self, reader: Reader, key: str, start: float, end: float) -> Iterator[tuple[int, A]]:
        """Yield start and value of a key's committed panes with start <= pane start < end, in order."""
        # A window may begin before the epoch, but no event does.
        first, last = self.row_key(key, ceil(max(start, 0))), self.row_key(key, ceil(max(end, 0)))
        for row, raw in reader.scan_committed(first, last):
            if len(row) == len(first):  # else another key, which begins with this key and a zero byte
                yield _START.unpack_from(row, len(row) - _START.size)[0], self.decode(raw)

    def pane_key(self, start: int, key: str = "") -> bytes:
        """Return the key of the derived row that indexes a pane by its time."""
        return b"%s%s%s" % (self._panes, _START.pack(max(start, 0)), key.encode())

    def pane(self, pane_key: bytes) -> tuple[int, str]:
        """Return the start and key of a pane."""
        at = len(self._panes)
        return _START.unpack_from(pane_key, at)[0], pane_key[at + _START.size :].decode()

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add, or delete, the derived row that indexes a pane."""
        if self.derived is not None and key != self.late_key:
            start = key[-_START.size :]
            name = key[len(self._prefix) : -_START.size - 1]
            changes.derived[self._panes + start + name] = None if value is None else b""

    def starts(self, after: float, upto: float) -> range:
        """Return the starts of the windows with after < end <= upto, seconds since the epoch."""
        first = int((after - self.size) // self.step + 1) * self.step
        last = int((upto - self.size) // self.step) * self.step
        return range(first, last + self.step, self.step)


class OpenWindows(Generic[A]):
    """A table of windows in the commit of one batch."""

    def __init__(
        self,
        table: Windowed[A],
        commit: Commit,
        changed: WindowCallback | None,
        closed: WindowCallback | None,
    ) -> None:
        self._windowed = table
        self._commit = commit
        self._changed = changed
        self._closed = closed
        self._late = table.late.open(commit)
        # A pane takes events until the watermark is this far beyond its start.
        self._open = None if table.grace is None else table.step + table.grace

    def _is_past(self, start: int) -> bool:
        """Return whether the current event is too late for a pane."""
        commit = self._commit
        return self._open is not None and start + self._open <= commit.watermarks[commit.index]

    def _report_late(self, start: int) -> None:
        """Report the current event as too late for a pane."""
        commit = self._commit
        self._late.report(commit.watermarks[commit.index] - start - (self._open or 0))

    def _finish(
        self, totals: Mapping[tuple[str, int], A], last: Mapping[tuple[str, int], int], changes: Changes
    ) -> None:
        """Emit what has changed and what has closed, and delete what is past its retention.

        Args:
            totals: the values of the panes that the batch has changed.
            last: for each of these panes, the batch index of the last event that changed it.
            changes: the changes of the batch.
        """
        table, commit = self._windowed, self._commit
        if self._changed is not None:
            self._emit_changed(self._changed, totals, last)
        self._late.fold(changes)
        if table.grace is not None and commit.watermarks:
            self._close(table.grace, totals, changes)

    def _emit_changed(
        self,
        changed: WindowCallback,
        totals: Mapping[tuple[str, int], A],
        last: Mapping[tuple[str, int], int],
    ) -> None:
        """Emit the window that ends with each pane that the batch has changed."""
        table, commit = self._windowed, self._commit
        if table.step == table.size:
            for (key, pane), commit.index in last.items():
                changed(table.window(key, pane, totals[key, pane]))
            return
        for key, pane in last:
            start = pane + table.step - table.size
            panes = [(key, one) for one in table.panes_of(start)]
            values = {one: value for (one, _), value in self._values(panes, totals)}
            # The origin is the version of an update. So it must be the newest event in the window.
            commit.index = max(last.get(one, -1) for one in panes)
            changed(table.window(key, start, table.merge_panes(values, start)))

    def _close(self, grace: int, totals: Mapping[tuple[str, int], A], changes: Changes) -> None:
        table, commit = self._windowed, self._commit
        before, now = commit.watermark, commit.watermarks[-1]
        if self._closed is not None:
            starts = table.starts(before - grace, now - grace)
            for start, key, total in self._final(starts, totals, changes) if starts else ():
                commit.passed(start + table.size + grace)
                self._closed(table.window(key, start, total))
        if table.keep is not None:
            # Until then a pane is in its last window.
            starts = table.starts(before - table.keep, now - table.keep)
            for key, pane in self._found(starts[0], starts[-1] + table.size, changes) if starts else ():
                if pane + table.size + table.keep <= now:
                    changes.rows[table.row_key(key, pane)] = None
                    changes.derived[table.pane_key(pane, key)] = None

    def _final(
        self, starts: range, totals: Mapping[tuple[str, int], A], changes: Changes
    ) -> Iterator[tuple[int, str, A]]:
        """Yield start, key and value of the windows that close, in order."""
        table, cache = self._windowed, self._commit.cache
        if table.step == table.size:
            found = self._found(starts[0], starts[-1] + table.size, changes)
            yield from ((pane, key, value) for (pane, key), value in self._values(found, totals))
            return
        merger: PaneMerger[A] | None = cache.pop(table.late_key, None)
        first = starts[0] + table.size - table.step
        if merger is None or merger.next != starts[0]:
            merger, first = PaneMerger(table.value, table.size, table.step), starts[0]
        found = self._found(first, starts[-1] + table.size, changes)
        panes = ((pane, key, value) for (pane, key), value in self._values(found, totals))
        yield from merger.close(starts, panes)
        if merger.small:
            cache[table.late_key] = merger

    def _found(self, start: int, end: int, changes: Changes) -> list[tuple[str, int]]:
        """Return key and start of the panes with start <= pane start < end, ordered by start and key."""
        table = self._windowed
        first, last = table.pane_key(start), table.pane_key(end)
        found = {key for key, _ in self._commit.scan(first, last)}
        found.update(
            key for key, value in changes.derived.items() if first <= key < last and value is not None
        )
        return [(key, pane) for pane, key in map(table.pane, sorted(found))]

    def _values(
        self, panes: Sequence[tuple[str, int]], totals: Mapping[tuple[str, int], A]
    ) -> Iterator[tuple[tuple[int, str], A]]:
        """Yield start, key and value of those panes that exist, including this batch."""
        table = self._windowed
        others = [one for one in panes if one not in totals]
        read = dict(zip(others, self._commit.read([table.row_key(*one) for one in others]), strict=True))
        for one in panes:
            key, pane = one
            if one in totals:
                yield (pane, key), totals[one]
            elif (raw := read[one]) is not None:
                yield (pane, key), table.decode(raw)
