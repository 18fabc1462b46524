"""Joins of two streams: events of a key that lie near each other in event time.

Both kinds of events come through one source partition. An event is *late* when the partition's watermark has
passed it by more than the table's *grace*. So none comes any more that could be the partner of one whose last
partner would be late: such an event is deleted, and told to be alone if it never had a partner.
"""

import struct
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from heapq import merge
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from tables.late import LateEvents
from tables.reading import Committed, Scan, keys_of_places
from tables.replica import Changes
from tables.table import Out, Range, Reader, due_keys, iso, whole_seconds

L = TypeVar("L")
R = TypeVar("R")
V = TypeVar("V")

# Time, serial number of the batch, number within it: in bytes in the order of the numbers.
_PLACE = struct.Struct(">QQI")
_TIME = struct.Struct(">Q")
_LATEST = 1 << 62
_BEHIND = _PLACE.pack(_LATEST, 0, 0)

# What an event's row begins with: whether it has had a partner.
_ALONE, _JOINED = b"\0", b"\1"

LEFT, RIGHT = b"l", b"r"
_OTHER = {LEFT: RIGHT, RIGHT: LEFT}


class Pair(NamedTuple, Generic[L, R]):
    """Two partners, with their event times in seconds since the epoch."""

    key: str
    left: L
    left_at: float
    right: R
    right_at: float


class One(NamedTuple, Generic[V]):
    """An event without a partner, with its event time in seconds since the epoch."""

    key: str
    value: V
    at: float


class _Kept:
    """An event that waits for partners; `index` is that in the batch, or -1 if it came before."""

    __slots__ = ("at", "index", "joined", "key", "raw", "row", "side", "value")

    def __init__(self, side: bytes, key: str, at: int, row: bytes) -> None:
        self.side = side
        self.key = key
        self.at = at
        self.row = row
        self.raw = b""
        self.value: Any = None
        self.index = -1
        self.joined = False


def micros(seconds: float) -> int:
    """Return a moment in whole microseconds: sums of these are exact, so all agree on what is due."""
    return min(round(seconds * 1_000_000), _LATEST)


class JoinTable(Generic[L, R]):
    """Left and right events of a key that are partners: -before <= right - left <= after, by event time.

    A row is an event that may still find a partner.

    Args:
        name: the table's name.
        left: type of what is kept of a left event; anything that MessagePack can hold.
        right: the same of a right event.
        before: how long before a left event its right partners may be.
        after: how long after it.
        grace: how far behind the watermark an event may come.
    """

    def __init__(
        self,
        name: str,
        *,
        left: type[L],
        right: type[R],
        before: timedelta,
        after: timedelta,
        grace: timedelta = timedelta(0),
    ) -> None:
        self.name = name
        self.kind = f"pairs from {before} before to {after} after"
        self.before = whole_seconds(name, "before", before)
        self.after = whole_seconds(name, "after", after)
        self.grace = whole_seconds(name, "grace", grace)
        self.types: dict[bytes, Any] = {LEFT: left, RIGHT: right}
        self.decode: dict[bytes, Callable[[bytes], Any]] = {
            side: msgspec.msgpack.Decoder(kept).decode for side, kept in self.types.items()
        }
        # Of each side: where its partners lie, and for how long they may come; microseconds.
        self.reach = {
            LEFT: (self.before * 1_000_000, self.after * 1_000_000),
            RIGHT: (self.after * 1_000_000, self.before * 1_000_000),
        }
        self.grace_micros = self.grace * 1_000_000
        self._prefix = f"{name}\0".encode()
        self.late_key = self._prefix + b"t"
        self.late = LateEvents(name, self.late_key)
        # Rows that find what is due.
        self.due_prefix = f"{name}\1".encode()
        self.derived: bytes | None = self.due_prefix

    def open(
        self,
        out: Out,
        *,
        joined: Callable[[Pair[L, R]], None],
        alone_left: Callable[[One[L]], None] | None = None,
        alone_right: Callable[[One[R]], None] | None = None,
    ) -> "Joins[L, R]":
        """Use the table in the commit of a batch.

        Args:
            out: the commit.
            joined: called at the end for each pair that the batch has completed; what it sends has the
                second of the two as its origin.
            alone_left: called at the end for each left event that has found no partner and will find none;
                what it sends has the event that moved the watermark past its last partner as its origin.
            alone_right: the same for right events.
        """
        return Joins(self, out, joined, {LEFT: alone_left, RIGHT: alone_right})

    def row_key(self, side: bytes, key: str, at: int, serial: int = 0, number: int = 0) -> bytes:
        """Return the key of an event's row; `at` in microseconds since the epoch."""
        place = _PLACE.pack(max(at, 0), serial, number)
        return b"%s%s%s\0%s" % (self._prefix, side, key.encode(), place)

    def due_key(self, due: int, row: bytes = b"") -> bytes:
        """Return the key of the row that finds an event by when it is due."""
        return self.due_prefix + _TIME.pack(max(due, 0)) + row

    def due(self, side: bytes, at: int) -> int:
        """Return the time that the watermark must have passed so that no partner can come."""
        return at + self.reach[side][1] + self.grace_micros

    def found(self, row: bytes) -> _Kept:
        """Return the event whose row has this key, without its value."""
        start, end = len(self._prefix), len(row) - _PLACE.size
        side, key = row[start : start + 1], row[start + 1 : end - 1].decode()
        return _Kept(side, key, _PLACE.unpack_from(row, end)[0], row)

    def load(self, kept: _Kept, raw: bytes) -> None:
        """Give an event what its row holds."""
        kept.raw, kept.joined = raw[1:], raw[:1] == _JOINED

    def value(self, kept: _Kept) -> Any:
        """Return the value of an event, decoded when it is first wanted."""
        if kept.value is None and kept.raw:
            kept.value = self.decode[kept.side](kept.raw)
        return kept.value

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add, or delete, the row that finds an event."""
        if key != self.late_key:
            kept = self.found(key)
            due = self.due_key(self.due(kept.side, kept.at), key)
            changes.derived[due] = None if value is None else b""

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return what there is to say of the join, and how many events came too late for it."""
        return {
            "before_seconds": self.before,
            "after_seconds": self.after,
            "grace_seconds": self.grace,
            "late": self.late.count(readers),
        }

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any]:
        """Return the events of a key in the range that may still find a partner, the oldest first.

        `next` is the time of the first one beyond the limit.
        """
        first, last = (micros(max(at, 0)) for at in (rows.start, rows.end))
        found = [
            (kept.at, side, reader.partition, kept)
            for reader in readers
            for side in (LEFT, RIGHT)
            for kept in self.between(reader.scan_committed, side, key, first, last - 1)
        ]
        found.sort(key=lambda item: item[:3])
        answer: dict[str, Any] = {"left": [], "right": []}
        for at, side, partition, kept in found[: rows.limit]:
            answer["left" if side == LEFT else "right"].append(self._shown(at, partition, kept))
        if len(found) > rows.limit:
            answer["next"] = iso(found[rows.limit][0] / 1_000_000)
        return answer

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix`, those behind `after`, in order."""
        sides = [
            keys_of_places(reader.scan_committed, self._prefix + side, prefix, after, last=_BEHIND)
            for side in (LEFT, RIGHT)
        ]
        return (key for key, _ in groupby(merge(*sides)))

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return the last event of a key that may still find a partner; None if there is none."""
        found = []
        for reader in readers:
            for side in (LEFT, RIGHT):
                first, last = self.row_key(side, key, 0), self.row_key(side, key, _LATEST)
                row = reader.last_committed(first, last)
                if row is not None and len(row[0]) == len(first):
                    kept = self.found(row[0])
                    self.load(kept, row[1])
                    found.append((kept.at, side, reader.partition, kept))
                elif row is not None:  # of another key
                    events = self.between(reader.scan_committed, side, key, 0, _LATEST - 1)
                    found += [(kept.at, side, reader.partition, kept) for kept in events]
        if not found:
            return None
        at, side, partition, kept = max(found, key=lambda item: item[:3])
        return {"side": "left" if side == LEFT else "right", **self._shown(at, partition, kept)}

    def _shown(self, at: int, partition: int, kept: _Kept) -> dict[str, Any]:
        return {
            "at": iso(at / 1_000_000),
            "joined": kept.joined,
            "partition": partition,
            "value": msgspec.to_builtins(self.value(kept)),
        }

    def between(self, scan: Scan, side: bytes, key: str, first: int, last: int) -> Iterator[_Kept]:
        """Yield a key's events with first <= time <= last, in order."""
        start, end = self.row_key(side, key, first), self.row_key(side, key, last + 1)
        for row, raw in scan(start, end):
            if len(row) == len(start):  # not of another key that begins with this one and a zero byte
                kept = self.found(row)
                self.load(kept, raw)
                yield kept


def _row(kept: _Kept) -> bytes:
    return kept.row


def _time(kept: _Kept) -> int:
    return kept.at


class Joins(Generic[L, R]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: JoinTable[L, R],
        out: Out,
        joined: Callable[[Pair[L, R]], None],
        alone: dict[bytes, Any],
    ) -> None:
        self._table = table
        self._out = out
        self._joined = joined
        self._alone = alone
        self._added: list[_Kept] = []
        self._late = table.late.open(out)
        out.at_end(self._fold)

    def add_left(self, key: str, value: L, *, at: float) -> bool:
        """Add a left event; if it is too late, it goes to the source's late events.

        Args:
            key: what it has in common with its partners.
            value: what is kept of it; it must not be changed any more.
            at: event time, seconds since the epoch.

        Returns:
            Whether it was in time.
        """
        return self._add(LEFT, key, value, at)

    def add_right(self, key: str, value: R, *, at: float) -> bool:
        """Add a right event; see `add_left`."""
        return self._add(RIGHT, key, value, at)

    def _add(self, side: bytes, key: str, value: Any, seconds: float) -> bool:
        table, out = self._table, self._out
        at = micros(seconds)
        by = micros(out.watermarks[out.index]) - at - table.grace_micros
        if by > 0:
            self._late.tell(by / 1_000_000)
            return False
        kept = _Kept(side, key, at, table.row_key(side, key, at, out.serial, len(self._added)))
        kept.value, kept.index = value, out.index
        self._added.append(kept)
        return True

    def _fold(self, changes: Changes) -> None:
        table, out = self._table, self._out
        changed: dict[bytes, _Kept] = {kept.row: kept for kept in self._added}
        self._join(changed)
        if out.watermarks:
            self._settle(changed, changes)
        for row, kept in changed.items():
            if kept.index >= 0:
                kept.raw = msgspec.msgpack.encode(kept.value)
                changes.derived[table.due_key(table.due(kept.side, kept.at), row)] = b""
            changes.rows[row] = (_JOINED if kept.joined else _ALONE) + kept.raw
        self._late.fold(changes)

    def _join(self, changed: dict[bytes, _Kept]) -> None:
        """Tell the pairs that the batch's events complete, one event after the other."""
        table, out = self._table, self._out
        near = self._near()
        for kept in self._added:
            earlier, later = table.reach[kept.side]
            others = near[_OTHER[kept.side], kept.key]
            first = bisect_left(others, kept.at - earlier, key=_time)
            last = bisect_right(others, kept.at + later, key=_time)
            for other in others[first:last]:
                if not other.joined:
                    other.joined = True
                    changed[other.row] = other
                kept.joined = True
                left, right = (kept, other) if kept.side == LEFT else (other, kept)
                out.index = kept.index
                self._joined(
                    Pair(
                        kept.key,
                        table.value(left),
                        left.at / 1_000_000,
                        table.value(right),
                        right.at / 1_000_000,
                    )
                )
            insort(near[kept.side, kept.key], kept, key=_row)

    def _near(self) -> dict[tuple[bytes, str], list[_Kept]]:
        """Return the stored events that may be partners of the batch's, by side and key, in order."""
        table = self._table
        times: dict[tuple[bytes, str], list[int]] = defaultdict(list)
        for kept in self._added:
            times[kept.side, kept.key].append(kept.at)
        near: dict[tuple[bytes, str], list[_Kept]] = defaultdict(list)
        for (side, key), all_of in times.items():
            earlier, later = table.reach[side]
            first, last = min(all_of) - earlier, max(all_of) + later
            other = _OTHER[side]
            near[other, key] = list(table.between(self._out.scan, other, key, first, last))
        return near

    def _settle(self, changed: dict[bytes, _Kept], changes: Changes) -> None:
        """Delete the events that no partner can come for, and tell those that never had one."""
        table, out = self._table, self._out
        marks = [micros(watermark) for watermark in out.watermarks]
        skip = len(table.due_key(0))
        done = {kept.row: kept for kept in self._added if table.due(kept.side, kept.at) < marks[-1]}
        for row in done:
            del changed[row]
        unread: list[_Kept] = []
        for key in due_keys(out, table.due_prefix, table.due_key(marks[-1])):
            row = key[skip:]
            changes.derived[key] = changes.rows[row] = None
            if row in changed:
                done[row] = changed.pop(row)
            else:
                unread.append(table.found(row))
        # Where the table was declared otherwise before, one may be found twice, or be gone.
        for kept, raw in zip(unread, out.read([kept.row for kept in unread]), strict=True):
            if raw is not None:
                table.load(kept, raw)
                done.setdefault(kept.row, kept)
        for kept in sorted(done.values(), key=lambda one: (table.due(one.side, one.at), one.key, one.row)):
            tell = self._alone[kept.side]
            if tell is not None and not kept.joined:
                # Between two microseconds.
                out.passed((table.due(kept.side, kept.at) + 0.5) / 1_000_000)
                tell(One(kept.key, table.value(kept), kept.at / 1_000_000))
