"""Session windows: the events of a key that are less than a gap apart.

An event that is within the gap of a session extends it, and sessions that meet are merged. A session closes
when the partition's watermark is beyond its last event by the gap and the table's *grace*.
"""

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from heapq import merge
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from millstream.state.readers import Committed, keys_of_places, keys_of_rows
from millstream.state.replica import Changes
from millstream.tables.aggregates import Aggregate
from millstream.tables.late import LateEvents
from millstream.tables.table import LATEST, Commit, Range, Reader, due_keys, from_iso, iso, whole_seconds

A = TypeVar("A")
V = TypeVar("V")

# Encodes times, which are not negative: the byte order is the numeric order.
_TIME = struct.Struct(">d")
_SPAN = struct.Struct(">dd")


class Session(NamedTuple):
    """One session of one key; `start` and `end` are the times of its first and last event."""

    key: str
    start: float
    end: float
    result: dict[str, Any]


class _Span(Generic[A]):
    """A session as it is stored: first and last event time, and value; `new` if it is not stored yet."""

    __slots__ = ("end", "new", "start", "total", "touched")

    def __init__(self, start: float, end: float, total: A, *, new: bool = False) -> None:
        self.start = start
        self.end = end
        self.total = total
        self.new = new
        self.touched = -1


class SessionTable(Generic[A, V]):
    """Sessions by key.

    There is one row for all open sessions of a key, and one for each closed session.

    Args:
        name: the table's name.
        gap: how long a key is without events between two sessions.
        value: the aggregate of a session.
        grace: how much longer a session takes events that come out of order.
        keep: how long a session is kept after it has closed; None for ever.
    """

    def __init__(
        self,
        name: str,
        *,
        gap: timedelta,
        value: Aggregate[A, V],
        grace: timedelta = timedelta(0),
        keep: timedelta | None = None,
    ) -> None:
        self.name = name
        self.kind = f"sessions with gaps of {gap}"
        self.value = value
        self.gap = whole_seconds(name, "gap", gap, least=1)
        self.grace = whole_seconds(name, "grace", grace)
        self.keep = None if keep is None else whole_seconds(name, "keep", keep)
        # An event or a session is closed when the watermark is this far ahead of it.
        self.open_seconds = self.gap + self.grace
        kept: Any = value.type
        self._decode_open = msgspec.msgpack.Decoder(list[tuple[float, float, kept]]).decode
        self._decode_closed = msgspec.msgpack.Decoder(kept).decode
        self._open = f"{name}\0o".encode()
        # Not "c": an older format used that prefix, and its rows must not be mistaken for these.
        self._closed = f"{name}\0s".encode()
        self.late_key = f"{name}\0l".encode()
        self.late = LateEvents(name, self.late_key)
        # Derived rows that index what is due: open sessions by a time not after their end, closed ones by
        # their end.
        self.derived: bytes | None = f"{name}\1".encode()
        self.checks = f"{name}\1o".encode()
        self.expiries = f"{name}\1c".encode()

    def open(
        self,
        commit: Commit,
        *,
        changed: Callable[[Session], None] | None = None,
        closed: Callable[[Session], None] | None = None,
    ) -> "Sessions[A, V]":
        """Use the table in the commit of a batch.

        Args:
            commit: the commit.
            changed: called at the end of the batch for each session that the batch has changed and left open.
                The origin of what it sends is the last event that changed the session.
            closed: called at the end of the batch for each session that the batch has closed, with its final
                result. The origin of what it sends is the event that moved the watermark past it.
        """
        return Sessions(self, commit, changed, closed)

    def open_key(self, key: str) -> bytes:
        """Return the key of the row with a key's open sessions."""
        return self._open + key.encode()

    def closed_key(self, key: str, start: float, end: float) -> bytes:
        """Return the key of a closed session's row.

        An event that is too late for a session of its own may still extend a later one that is open. That
        session then begins where an earlier, closed one began, but it ends later. So the row's key includes
        the end.
        """
        return b"%s%s\0%s" % (self._closed, key.encode(), _SPAN.pack(start, end))

    def check_key(self, at: float, key: str = "") -> bytes:
        """Return the key of the derived row that schedules a check of a key's open sessions after `at`."""
        return self.checks + _TIME.pack(max(at, 0.0)) + key.encode()

    def expiry_key(self, end: float, row: bytes = b"") -> bytes:
        """Return the key of the derived row that indexes a closed session by its end."""
        return self.expiries + _TIME.pack(max(end, 0.0)) + row

    def checked(self, check_key: bytes) -> str:
        """Return the key to check."""
        return check_key[len(self.checks) + _TIME.size :].decode()

    def expired(self, expiry_key: bytes) -> tuple[float, bytes]:
        """Return the end of a closed session, and the key of its row."""
        at = len(self.expiries)
        return _TIME.unpack_from(expiry_key, at)[0], expiry_key[at + _TIME.size :]

    def spans(self, raw: bytes | None) -> list[_Span[A]]:
        """Return open sessions, oldest first."""
        return [] if raw is None else [_Span(*span) for span in self._decode_open(raw)]

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add the derived rows that index what is due.

        Derived rows of sessions that no longer exist do no harm: a check finds that nothing is due.
        """
        if value is None:
            return
        if key.startswith(self._open):
            name = key[len(self._open) :]
            for span in self.spans(value):
                changes.derived[self.check_key(span.end) + name] = b""
        elif key.startswith(self._closed):
            _, end = _SPAN.unpack_from(key, len(key) - _SPAN.size)
            changes.derived[self.expiry_key(end, key)] = b""

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return the settings of the sessions, and the number of late events."""
        return {
            "gap_seconds": self.gap,
            "grace_seconds": self.grace,
            "keep_seconds": self.keep,
            "late": self.late.count(readers),
        }

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any]:
        """Return a key's sessions that began in the range, oldest first; each is in one partition.

        `next` is the start of the first session beyond the limit.
        """
        stored = [
            (span.start, span.end, is_open, reader.partition, self.value.result(span.total))
            for reader in readers
            for span, is_open in self.stored(reader, key)
            if rows.start <= span.start < rows.end
        ]
        found = sorted(stored, key=lambda item: item[:4])
        answer: dict[str, Any] = {
            "sessions": [_shown(*item) for item in found[: rows.limit]],
        }
        if len(found) > rows.limit:
            answer["next"] = from_iso(found[rows.limit][0])
        return answer

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix` and come after `after`, in order."""
        scan = reader.scan_committed
        closed = keys_of_places(scan, self._closed, prefix, after, last=_SPAN.pack(LATEST, LATEST))
        opened = (key for key, _ in keys_of_rows(scan, self._open, prefix, after))
        return (key for key, _ in groupby(merge(closed, opened)))

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return the session of a key that began last; None if it has none."""
        first, last = self.closed_key(key, 0.0, 0.0), self.closed_key(key, LATEST, LATEST)
        found = []
        for reader in readers:
            sessions = [(span, True) for span in self.spans(reader.get_committed(self.open_key(key)))]
            row = reader.last_committed(first, last)
            if row is not None and len(row[0]) == len(first):
                sessions.append((self._closed_span(*row), False))
            elif row is not None:  # a row of another key
                sessions += self.stored(reader, key)
            found += [
                (span.start, span.end, is_open, reader.partition, self.value.result(span.total))
                for span, is_open in sessions
            ]
        return _shown(*max(found, key=lambda item: item[:4])) if found else None

    def stored(self, reader: Reader, key: str) -> Iterator[tuple[_Span[A], bool]]:
        """Yield a key's committed sessions, and whether they are open."""
        first, last = self.closed_key(key, 0.0, 0.0), self.closed_key(key, math.inf, math.inf)
        for row, raw in reader.scan_committed(first, last):
            if len(row) == len(first):  # else another key, which begins with this key and a zero byte
                yield self._closed_span(row, raw), False
        for span in self.spans(reader.get_committed(self.open_key(key))):
            yield span, True

    def _closed_span(self, row: bytes, raw: bytes) -> _Span[A]:
        start, end = _SPAN.unpack_from(row, len(row) - _SPAN.size)
        return _Span(start, end, self._decode_closed(raw))


def _shown(start: float, end: float, is_open: bool, partition: int, result: dict[str, Any]) -> dict[str, Any]:
    return {"start": iso(start), "end": iso(end), "open": is_open, "partition": partition, **result}


class Sessions(Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: SessionTable[A, V],
        commit: Commit,
        changed: Callable[[Session], None] | None,
        closed: Callable[[Session], None] | None,
    ) -> None:
        self._table = table
        self._commit = commit
        self._changed = changed
        self._closed = closed
        # By key: time, value and batch index of each event.
        self._events: dict[str, list[tuple[float, V, int]]] = {}
        self._late = table.late.open(commit)
        commit.at_end(table, self._fold)

    def add(self, key: str, value: V, *, at: float) -> None:
        """Add an event to a session of a key; a late one goes to the source's late events.

        Args:
            key: the key of the session.
            value: the input of the table's aggregate.
            at: event time, seconds since the epoch.
        """
        self._events.setdefault(key, []).append((at, value, self._commit.index))

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        looked_at = self._due(changes)
        names = list(dict.fromkeys([*self._events, *looked_at]))
        rows = [table.open_key(name) for name in names]
        final: list[tuple[float, str, _Span[A]]] = []
        current: list[tuple[int, str, _Span[A]]] = []
        for name, row, raw in zip(names, rows, commit.read(rows), strict=True):
            before = table.spans(raw)
            spans = self._grow(name, before, final)
            if commit.watermarks:
                spans = self._close(name, spans, commit.watermarks[-1], final)
            for span in spans:
                if span.new or name in looked_at:
                    changes.derived[table.check_key(span.end, name)] = b""
            if spans:
                stored = [(span.start, span.end, span.total) for span in spans]
                changes.rows[row] = msgspec.msgpack.encode(stored)
            elif raw is not None:
                changes.rows[row] = None
            current += [(span.touched, name, span) for span in spans if span.touched >= 0]
        self._emit(current, final, changes)
        self._late.fold(changes)
        self._expire(changes)

    def _grow(
        self, name: str, spans: list[_Span[A]], final: list[tuple[float, str, _Span[A]]]
    ) -> list[_Span[A]]:
        """Add a key's events one by one, each at the watermark of its arrival."""
        table, commit = self._table, self._commit
        value, gap = table.value, table.gap
        for at, event, index in self._events.get(name, ()):
            watermark = commit.watermarks[index]
            spans = self._close(name, spans, watermark, final)
            near = [span for span in spans if span.start - gap < at < span.end + gap]
            if not near and at + table.open_seconds <= watermark:
                commit.index = index
                self._late.report(watermark - at - table.open_seconds)
                continue
            if near:
                grown = near[0]
                grown.total = value.add(grown.total, event)
                for span in near[1:]:
                    grown.total = value.merge(grown.total, span.total)
                grown.start = min(at, grown.start)
                grown.end = max(at, *(span.end for span in near))
            else:
                grown = _Span(at, at, value.add(value.zero(), event), new=True)
            grown.touched = index
            spans = sorted(
                [grown, *(span for span in spans if span not in near)], key=lambda span: span.start
            )
        return spans

    def _close(
        self,
        name: str,
        spans: list[_Span[A]],
        watermark: float,
        final: list[tuple[float, str, _Span[A]]],
    ) -> list[_Span[A]]:
        """Return the sessions that are still open at a watermark; the others are appended to `final`."""
        closes = self._table.open_seconds
        final += [(span.end + closes, name, span) for span in spans if span.end + closes <= watermark]
        return [span for span in spans if span.end + closes > watermark]

    def _emit(
        self,
        current: list[tuple[int, str, _Span[A]]],
        final: list[tuple[float, str, _Span[A]]],
        changes: Changes,
    ) -> None:
        table, commit = self._table, self._commit
        if self._changed is not None:
            for index, name, span in sorted(current, key=lambda item: (item[0], item[2].start)):
                commit.index = index
                self._changed(Session(name, span.start, span.end, table.value.result(span.total)))
        for at, name, span in sorted(final, key=lambda item: (item[0], item[1], item[2].start)):
            if table.keep != 0:
                row = table.closed_key(name, span.start, span.end)
                changes.rows[row] = raw = msgspec.msgpack.encode(span.total)
                table.derive(row, raw, changes)
            if self._closed is not None:
                commit.passed(at)
                self._closed(Session(name, span.start, span.end, table.value.result(span.total)))

    def _due(self, changes: Changes) -> set[str]:
        """Return the keys whose open sessions are to be checked, and delete their derived rows."""
        table, commit = self._table, self._commit
        if not commit.watermarks:
            return set()
        # The margin is for rounded sums of times: to check a key too early does no harm, to miss one might.
        end = table.check_key(commit.watermarks[-1] - table.open_seconds + 0.001)
        checks = due_keys(commit, table.checks, end)
        for key in checks:
            changes.derived[key] = None
        return {table.checked(key) for key in checks}

    def _expire(self, changes: Changes) -> None:
        """Delete the closed sessions that are past their retention."""
        table, commit = self._table, self._commit
        if table.keep is None or not commit.watermarks:
            return
        watermark, kept = commit.watermarks[-1], table.open_seconds + table.keep
        last = table.expiry_key(watermark - kept + 0.001)
        added = [key for key in changes.derived if table.expiries <= key < last]
        for key in {*due_keys(commit, table.expiries, last), *added}:
            end, row = table.expired(key)
            if end + kept <= watermark:
                changes.derived[key] = None
                changes.rows[row] = None
