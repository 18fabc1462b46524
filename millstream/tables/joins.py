"""Joins of two streams: pairs of events with the same key that are close in event time.

Both kinds of events come through one source partition. An event is *late* when the partition's watermark is
ahead of it by more than the table's *grace*. So an event can get no more partners once the watermark is more
than the grace ahead of the latest possible partner. Then the event is deleted, and reported as alone if it
never had a partner.
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

from millstream.state.readers import Committed, Scan, keys_of_places
from millstream.state.replica import Changes
from millstream.tables.late import LateEvents
from millstream.tables.table import Commit, Range, Reader, due_keys, iso, whole_seconds

L = TypeVar("L")
R = TypeVar("R")
V = TypeVar("V")

# Time, serial number of the batch, number within the batch. The byte order is the numeric order.
_PLACE = struct.Struct(">QQI")
_TIME = struct.Struct(">Q")
_LATEST = 1 << 62
_BEHIND = _PLACE.pack(_LATEST, 0, 0)

# First byte of an event's row: whether the event has had a partner.
_ALONE, _JOINED = b"\0", b"\1"

LEFT, RIGHT = b"l", b"r"
_OTHER = {LEFT: RIGHT, RIGHT: LEFT}


class Pair(NamedTuple, Generic[L, R]):
    """Two joined events, with their event times in seconds since the epoch."""

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


class _StoredEvent:
    """An event that can still find partners; `index` is its batch index, -1 if from an earlier one."""

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
    """Return a time in whole microseconds. Their sums are exact, so all comparisons agree on what is due."""
    return min(round(seconds * 1_000_000), _LATEST)


class JoinTable(Generic[L, R]):
    """Joins left and right events of a key if -before <= right - left <= after, by event time.

    Each row holds an event that may still find a partner.

    Args:
        name: the table's name.
        left: type of a left event's stored value; anything that MessagePack can hold.
        right: type of a right event's stored value; the same holds.
        before: how long before a left event its right partners may be.
        after: how long after a left event its right partners may be.
        grace: how far behind the watermark an event may arrive.
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
            side: msgspec.msgpack.Decoder(stored).decode for side, stored in self.types.items()
        }
        # For each side: how far before and after an event its partners may be, in microseconds.
        self.reach = {
            LEFT: (self.before * 1_000_000, self.after * 1_000_000),
            RIGHT: (self.after * 1_000_000, self.before * 1_000_000),
        }
        self.grace_micros = self.grace * 1_000_000
        self._prefix = f"{name}\0".encode()
        self.late_key = self._prefix + b"t"
        self.late = LateEvents(name, self.late_key)
        # Derived rows that index events by due time.
        self.due_prefix = f"{name}\1".encode()
        self.derived: bytes | None = self.due_prefix

    def open(
        self,
        commit: Commit,
        *,
        joined: Callable[[Pair[L, R]], None],
        alone_left: Callable[[One[L]], None] | None = None,
        alone_right: Callable[[One[R]], None] | None = None,
    ) -> "Joins[L, R]":
        """Use the table in the commit of a batch.

        Args:
            commit: the commit.
            joined: called at the end of the batch for each new pair. The origin of what it sends is the
                second event of the pair.
            alone_left: called at the end of the batch for each left event that has no partner and can get
                none. The origin of what it sends is the event that moved the watermark past its last possible
                partner.
            alone_right: the same for right events.
        """
        return Joins(self, commit, joined, {LEFT: alone_left, RIGHT: alone_right})

    def row_key(self, side: bytes, key: str, at: int, serial: int = 0, number: int = 0) -> bytes:
        """Return the key of an event's row; `at` in microseconds since the epoch."""
        place = _PLACE.pack(max(at, 0), serial, number)
        return b"%s%s%s\0%s" % (self._prefix, side, key.encode(), place)

    def due_key(self, due: int, row: bytes = b"") -> bytes:
        """Return the key of the derived row that indexes an event by its due time."""
        return self.due_prefix + _TIME.pack(max(due, 0)) + row

    def due(self, side: bytes, at: int) -> int:
        """Return the time that the watermark must pass before an event can get no more partners."""
        return at + self.reach[side][1] + self.grace_micros

    def found(self, row: bytes) -> _StoredEvent:
        """Return the event for a row's key, without its value."""
        start, end = len(self._prefix), len(row) - _PLACE.size
        side, key = row[start : start + 1], row[start + 1 : end - 1].decode()
        return _StoredEvent(side, key, _PLACE.unpack_from(row, end)[0], row)

    def load(self, event: _StoredEvent, raw: bytes) -> None:
        """Set an event's value and state from its row."""
        event.raw, event.joined = raw[1:], raw[:1] == _JOINED

    def value(self, event: _StoredEvent) -> Any:
        """Return the value of an event; it is decoded on first use."""
        if event.value is None and event.raw:
            event.value = self.decode[event.side](event.raw)
        return event.value

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add, or delete, the derived row that indexes an event."""
        if key != self.late_key:
            event = self.found(key)
            due = self.due_key(self.due(event.side, event.at), key)
            changes.derived[due] = None if value is None else b""

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return the join's settings, and the number of late events."""
        return {
            "before_seconds": self.before,
            "after_seconds": self.after,
            "grace_seconds": self.grace,
            "late": self.late.count(readers),
        }

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any]:
        """Return a key's events in the range that may still find a partner, oldest first.

        `next` is the time of the first event beyond the limit.
        """
        first, last = (micros(max(at, 0)) for at in (rows.start, rows.end))
        found = [
            (event.at, side, reader.partition, event)
            for reader in readers
            for side in (LEFT, RIGHT)
            for event in self.between(reader.scan_committed, side, key, first, last - 1)
        ]
        found.sort(key=lambda item: item[:3])
        answer: dict[str, Any] = {"left": [], "right": []}
        for at, side, partition, event in found[: rows.limit]:
            answer["left" if side == LEFT else "right"].append(self._shown(at, partition, event))
        if len(found) > rows.limit:
            answer["next"] = iso(found[rows.limit][0] / 1_000_000)
        return answer

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix` and come after `after`, in order."""
        sides = [
            keys_of_places(reader.scan_committed, self._prefix + side, prefix, after, last=_BEHIND)
            for side in (LEFT, RIGHT)
        ]
        return (key for key, _ in groupby(merge(*sides)))

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return the latest event of a key that may still find a partner; None if there is none."""
        found = []
        for reader in readers:
            for side in (LEFT, RIGHT):
                first, last = self.row_key(side, key, 0), self.row_key(side, key, _LATEST)
                row = reader.last_committed(first, last)
                if row is not None and len(row[0]) == len(first):
                    event = self.found(row[0])
                    self.load(event, row[1])
                    found.append((event.at, side, reader.partition, event))
                elif row is not None:  # a row of another key
                    events = self.between(reader.scan_committed, side, key, 0, _LATEST - 1)
                    found += [(event.at, side, reader.partition, event) for event in events]
        if not found:
            return None
        at, side, partition, event = max(found, key=lambda item: item[:3])
        return {"side": "left" if side == LEFT else "right", **self._shown(at, partition, event)}

    def _shown(self, at: int, partition: int, event: _StoredEvent) -> dict[str, Any]:
        return {
            "at": iso(at / 1_000_000),
            "joined": event.joined,
            "partition": partition,
            "value": msgspec.to_builtins(self.value(event)),
        }

    def between(self, scan: Scan, side: bytes, key: str, first: int, last: int) -> Iterator[_StoredEvent]:
        """Yield a key's events with first <= time <= last, in order."""
        start, end = self.row_key(side, key, first), self.row_key(side, key, last + 1)
        for row, raw in scan(start, end):
            if len(row) == len(start):  # else another key, which begins with this key and a zero byte
                event = self.found(row)
                self.load(event, raw)
                yield event


def _row(event: _StoredEvent) -> bytes:
    return event.row


def _time(event: _StoredEvent) -> int:
    return event.at


class Joins(Generic[L, R]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: JoinTable[L, R],
        commit: Commit,
        joined: Callable[[Pair[L, R]], None],
        alone: dict[bytes, Any],
    ) -> None:
        self._table = table
        self._commit = commit
        self._joined = joined
        self._alone = alone
        self._added: list[_StoredEvent] = []
        self._late = table.late.open(commit)
        commit.at_end(table, self._fold)

    def add_left(self, key: str, value: L, *, at: float) -> bool:
        """Add a left event; a late one goes to the source's late events.

        Args:
            key: the join key.
            value: what to store of the event; the caller must not change it afterwards.
            at: event time, seconds since the epoch.

        Returns:
            Whether it was added; a late event was not.
        """
        return self._add(LEFT, key, value, at)

    def add_right(self, key: str, value: R, *, at: float) -> bool:
        """Add a right event; see `add_left`."""
        return self._add(RIGHT, key, value, at)

    def _add(self, side: bytes, key: str, value: Any, seconds: float) -> bool:
        table, commit = self._table, self._commit
        at = micros(seconds)
        by = micros(commit.watermarks[commit.index]) - at - table.grace_micros
        if by > 0:
            self._late.report(by / 1_000_000)
            return False
        event = _StoredEvent(side, key, at, table.row_key(side, key, at, commit.serial, len(self._added)))
        event.value, event.index = value, commit.index
        self._added.append(event)
        return True

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        changed: dict[bytes, _StoredEvent] = {event.row: event for event in self._added}
        self._join(changed)
        if commit.watermarks:
            self._expire(changed, changes)
        for row, event in changed.items():
            if event.index >= 0:
                event.raw = msgspec.msgpack.encode(event.value)
                changes.derived[table.due_key(table.due(event.side, event.at), row)] = b""
            changes.rows[row] = (_JOINED if event.joined else _ALONE) + event.raw
        self._late.fold(changes)

    def _join(self, changed: dict[bytes, _StoredEvent]) -> None:
        """Emit the pairs that the batch's events complete, one event after the other."""
        table, commit = self._table, self._commit
        near = self._near()
        for event in self._added:
            earlier, later = table.reach[event.side]
            others = near[_OTHER[event.side], event.key]
            first = bisect_left(others, event.at - earlier, key=_time)
            last = bisect_right(others, event.at + later, key=_time)
            for other in others[first:last]:
                if not other.joined:
                    other.joined = True
                    changed[other.row] = other
                event.joined = True
                left, right = (event, other) if event.side == LEFT else (other, event)
                commit.index = event.index
                self._joined(
                    Pair(
                        event.key,
                        table.value(left),
                        left.at / 1_000_000,
                        table.value(right),
                        right.at / 1_000_000,
                    )
                )
            insort(near[event.side, event.key], event, key=_row)

    def _near(self) -> dict[tuple[bytes, str], list[_StoredEvent]]:
        """Return the stored events that may be partners of the batch's events, by side and key, in order."""
        table = self._table
        times: dict[tuple[bytes, str], list[int]] = defaultdict(list)
        for event in self._added:
            times[event.side, event.key].append(event.at)
        near: dict[tuple[bytes, str], list[_StoredEvent]] = defaultdict(list)
        for (side, key), all_of in times.items():
            earlier, later = table.reach[side]
            first, last = min(all_of) - earlier, max(all_of) + later
            other = _OTHER[side]
            near[other, key] = list(table.between(self._commit.scan, other, key, first, last))
        return near

    def _expire(self, changed: dict[bytes, _StoredEvent], changes: Changes) -> None:
        """Delete the events that can get no more partners, and report those that never had one."""
        table, commit = self._table, self._commit
        watermarks = [micros(watermark) for watermark in commit.watermarks]
        skip = len(table.due_key(0))
        done = {event.row: event for event in self._added if table.due(event.side, event.at) < watermarks[-1]}
        for row in done:
            del changed[row]
        unread: list[_StoredEvent] = []
        for key in due_keys(commit, table.due_prefix, table.due_key(watermarks[-1])):
            row = key[skip:]
            changes.derived[key] = changes.rows[row] = None
            if row in changed:
                done[row] = changed.pop(row)
            else:
                unread.append(table.found(row))
        # If the table had other settings before, an event may be found twice, or may be gone.
        for event, raw in zip(unread, commit.read([event.row for event in unread]), strict=True):
            if raw is not None:
                table.load(event, raw)
                done.setdefault(event.row, event)
        for event in sorted(done.values(), key=lambda one: (table.due(one.side, one.at), one.key, one.row)):
            alone = self._alone[event.side]
            if alone is not None and not event.joined:
                # The half keeps it between two microseconds.
                commit.passed((table.due(event.side, event.at) + 0.5) / 1_000_000)
                alone(One(event.key, table.value(event), event.at / 1_000_000))
