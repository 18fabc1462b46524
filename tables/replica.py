"""A copy of a state log on disk: what an owner and a standby have in common."""

import logging
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from tables.log import FENCE, POSITION, LogRecord, Position, unpack
from tables.snapshot import Glance, Snapshot
from tables.store import Rows, Sizes, Store

logger = logging.getLogger(__name__)

# Rows of RocksDB only: the log's id, how far it has been read, and the keys that must be sent again.
TOPIC = b"\0topic"
LOG = b"\0log"
RESEND = b"\0resend"

# Next offset; the highest fence before it; when the last record before it was written, seconds.
_LOG = struct.Struct(">qqd")

# Kafka forgets deletions after `delete.retention.ms`: a copy that is older would keep what was deleted.
DELETIONS_KEPT = timedelta(days=7)
OLDEST_COPY = DELETIONS_KEPT - timedelta(days=1)

# Records that are applied at once: a longer stretch would hold up the event loop.
STRETCH = 4000


class Changes:
    """What a stretch of events changes.

    Attributes:
        rows: rows of the tables, which go to the state log too (None deletes one).
        derived: rows that follow from them, kept in RocksDB only.
        ranges: ranges of derived rows that are deleted.
    """

    __slots__ = ("derived", "ranges", "rows")

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.derived: Rows = {}
        self.ranges: list[tuple[bytes, bytes]] = []

    def update(self, later: "Changes") -> None:
        """Add the changes of the next stretch."""
        self.rows.update(later.rows)
        self.derived.update(later.derived)
        self.ranges.extend(later.ranges)


class Table(Protocol):
    """What the state must know of a table.

    Attributes:
        name: its name; a row's key begins with it and a zero byte.
        derived: what the keys of derived rows begin with; None if it has none.
    """

    name: str
    derived: bytes | None

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add to `changes` the derived rows that follow from one row of the table."""
        ...


@dataclass
class Progress:
    """How far the reading of a log has come.

    Attributes:
        start: offset that it began at.
        end: offset that it goes to.
        next: offset that it has come to.
        records: how many records were read (compaction leaves fewer than offsets).
        tables: the same for each table.
    """

    start: int = 0
    end: int = 0
    next: int = 0
    records: int = 0
    tables: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / max(time.monotonic() - self.began, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None while nothing was read."""
        passed = self.next - self.start
        if self.next >= self.end:
            return 0.0
        return (time.monotonic() - self.began) / passed * (self.end - self.next) if passed else None


class Replica:
    """The rows of a state log up to an offset.

    Args:
        topic_id: the id of the log's topic; empty if Kafka gives none.
        store: the rows on disk.
        tables: the tables.

    Attributes:
        next: offset of the first record that was not read yet.
        position: what the rows hold.
        lost: why rows that were here could not be kept; None if they could.
    """

    def __init__(self, topic_id: str, store: Store, tables: Iterable[Table]) -> None:
        self._topic_id = topic_id
        self._store = store
        self._deriving: Mapping[bytes, Table] = {
            f"{table.name}\0".encode(): table for table in tables if table.derived is not None
        }
        self.lost: str | None = None
        self.progress = Progress()
        self._load()

    def _load(self) -> None:
        raw = self._store.get(LOG)
        self.next, self._fence, self._written = _LOG.unpack(raw) if raw else (0, -1, 0.0)
        self._resend: set[bytes] = set(msgspec.msgpack.decode(self._store.get(RESEND) or b"\x90"))
        self.position = Position.decode(self._store.get(POSITION))

    def fit(self, start: int, end: int) -> None:
        """Set rows aside that cannot be continued from a log that holds the offsets from `start` to `end`."""
        found = (self._store.get(TOPIC) or b"").decode()
        why = None
        if self._topic_id and found and found != self._topic_id:
            why = "is of a state log that was deleted and made anew since"
        elif self.next > end:
            why = f"is ahead of its state log ({self.next} > {end}): the topic is new, or has lost records"
        elif self.next and self.next < start:
            why = f"ends at {self.next}, before the start of its state log ({start})"
        elif self.next < end and 0 < self._written < time.time() - OLDEST_COPY.total_seconds():
            why = f"was not used for {OLDEST_COPY.days} days: Kafka may have forgotten deletions since"
        if why is not None:
            self._store.reset(why)
            self._load()
            self.lost = why
        if self._topic_id:
            self._store.write({TOPIC: self._topic_id.encode()})

    def apply(self, records: Sequence[LogRecord], following: int) -> None:
        """Apply records of the log; `following` is the offset to go on from.

        Those that do not count are left out, and their keys remembered: they must be sent again.
        """
        changes = Changes()
        rows, resend = changes.rows, self._resend
        counts: dict[bytes, int] = defaultdict(int)
        fence = self._fence
        stale = len(resend)
        prefix, table = b"", None
        for record in records:
            key = record.key
            if key == FENCE:
                fence = max(fence, record.offset)
                continue
            epoch, value = unpack(record)
            if epoch < fence:
                if key != POSITION:  # each commit sends a position of its own
                    resend.add(key)
                continue
            fence = epoch  # its own record may have been compacted away
            if resend:
                resend.discard(key)
            rows[key] = value
            if not prefix or not key.startswith(prefix):  # rows of one table mostly come together
                prefix = key[: key.find(0) + 1]
                table = self._deriving.get(prefix)
            counts[prefix] += 1
            if table is not None:
                table.derive(key, value, changes)
        if resend or stale:
            rows[RESEND] = self._pack_resend()
        written = records[-1].timestamp / 1000 if records else self._written
        self._write(rows, changes, following, fence, written)
        if POSITION in rows:
            self.position = Position.decode(rows[POSITION])
        progress = self.progress
        progress.next = following
        progress.records += len(records)
        progress.tables.update({name[:-1].decode(): n for name, n in counts.items() if len(name) > 1})

    def _write(self, rows: Rows, changes: Changes, following: int, fence: int, written: float) -> None:
        """Write rows and what is derived, as read up to `following`; if it fails, nothing has happened."""
        rows[LOG] = _LOG.pack(following, fence, written)
        self._store.write(rows, changes.derived, changes.ranges)
        self.next, self._fence, self._written = following, fence, written

    def _pack_resend(self) -> bytes | None:
        return msgspec.msgpack.encode(sorted(self._resend)) if self._resend else None

    def get_committed(self, key: bytes) -> bytes | None:
        """Read a row as of the last commit."""
        return self._store.get(key)

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, as of the last commit."""
        return self._store.scan(start, end)

    def sizes(self) -> Sizes:
        """Return how large the rows are."""
        return self._store.sizes()

    def snapshot(self) -> tuple[Position, Snapshot]:
        """Return the rows as of the last commit, and what they hold; to be closed.

        Raises:
            ClosedError: they are being closed.
        """
        rows = self._store.snapshot()
        return Position.decode(rows.get(POSITION)), rows

    def glance(self) -> tuple[Position, Snapshot]:
        """Return the same for a few reads, before the event loop goes on: it is that which writes."""
        return Position.decode(self._store.get(POSITION)), Glance(self._store)

    def close(self) -> None:
        """Close the rows on disk; they stay."""
        self._store.close()


def stretches(records: Sequence[Any], following: int) -> Iterable[tuple[Sequence[Any], int]]:
    """Cut records into stretches, each with the offset to go on from."""
    for i in range(0, max(len(records), 1), STRETCH):
        part = records[i : i + STRETCH]
        yield part, following if i + STRETCH >= len(records) else part[-1].offset + 1
