"""A copy of a state log on disk: the common part of owners and standbys."""

import logging
import struct
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from millstream.state.log import FENCE, POSITION, LogRecord, Position, check_fence, unpack
from millstream.state.snapshot import BoundedRead, Snapshot
from millstream.state.store import Rows, Sizes, Store

logger = logging.getLogger(__name__)

# Rows of RocksDB only: the log's topic id, how far the log has been read, and the keys to send again.
TOPIC = b"\0topic"
LOG = b"\0log"
RESEND = b"\0resend"

# Next offset; the highest fence before it; the write time of the last record before it, in seconds.
_LOG = struct.Struct(">qqd")

# Kafka drops tombstones after `delete.retention.ms`: an older copy would keep rows that were deleted.
DELETIONS_KEPT = timedelta(days=7)
OLDEST_COPY = DELETIONS_KEPT - timedelta(days=1)

# Limit of the records that are applied at once: a larger chunk would block the event loop for too long.
CHUNK_RECORDS = 4000


class Changes:
    """The changes that a chunk of events makes.

    Attributes:
        rows: rows of the tables, which also go to the state log (None deletes a row).
        derived: rows that are derived from them, stored in RocksDB only.
        ranges: ranges of derived rows to delete.
    """

    __slots__ = ("derived", "ranges", "rows")

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.derived: Rows = {}
        self.ranges: list[tuple[bytes, bytes]] = []

    def update(self, later: "Changes") -> None:
        """Add the changes of the next chunk."""
        self.rows.update(later.rows)
        self.derived.update(later.derived)
        self.ranges.extend(later.ranges)


class Table(Protocol):
    """The state's interface to a table.

    Attributes:
        name: the table's name; a row's key begins with it and a zero byte.
        derived: key prefix of the derived rows; None if the table has none.
    """

    name: str
    derived: bytes | None

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add the rows that are derived from one row of the table to `changes`."""
        ...


@dataclass
class Progress:
    """The progress of reading a log.

    Attributes:
        start: first offset to read.
        end: offset to read up to.
        next: next offset to read.
        records: number of records that were read (because of compaction, fewer than offsets).
        tables: number of records that were read, by table.
    """

    start: int = 0
    end: int = 0
    next: int = 0
    records: int = 0
    tables: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.records / max(time.monotonic() - self.began, 1e-3)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None if nothing was read yet."""
        passed = self.next - self.start
        if self.next >= self.end:
            return 0.0
        return (time.monotonic() - self.began) / passed * (self.end - self.next) if passed else None


class Replica:
    """The rows of a state log up to an offset.

    Args:
        topic_id: the id of the log's topic; empty if Kafka does not provide one.
        store: the rows on disk.
        tables: the tables.

    Attributes:
        next: offset of the next record to read.
        position: the source position of the rows.
        lost: why the local rows could not be kept; None if they were kept.
    """

    def __init__(self, topic_id: str, store: Store, tables: Iterable[Table]) -> None:
        self._topic_id = topic_id
        self._store = store
        self._derived_tables: Mapping[bytes, Table] = {
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
        """Set the rows aside if a log with the offsets from `start` to `end` cannot continue them."""
        found = (self._store.get(TOPIC) or b"").decode()
        why = None
        if self._topic_id and found and found != self._topic_id:
            why = "is of a state log that was deleted and created again since"
        elif self.next > end:
            why = f"is ahead of its state log ({self.next} > {end}): the topic is new, or has lost records"
        elif self.next and self.next < start:
            why = f"ends at {self.next}, before the start of its state log ({start})"
        elif self.next < end and 0 < self._written < time.time() - OLDEST_COPY.total_seconds():
            why = f"was not used for {OLDEST_COPY.days} days: Kafka may have dropped tombstones since"
        if why is not None:
            self._store.reset(why)
            self._load()
            self.lost = why
        if self._topic_id:
            self._store.write({TOPIC: self._topic_id.encode()})

    def apply(self, records: Sequence[LogRecord], following: int) -> None:
        """Apply records of the log; `following` is the next offset to read.

        Records of fenced writers do not count. They are skipped, and their keys are noted: these must be sent
        again.
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
                check_fence(record)
                fence = max(fence, record.offset)
                continue
            epoch, value = unpack(record)
            if epoch < fence:
                if key != POSITION:  # each commit sends its own position
                    resend.add(key)
                continue
            fence = epoch  # its fence record may have been compacted away
            if resend:
                resend.discard(key)
            rows[key] = value
            if not prefix or not key.startswith(prefix):  # rows of one table are usually contiguous
                prefix = key[: key.find(0) + 1]
                table = self._derived_tables.get(prefix)
            counts[prefix] += 1
            if table is not None:
                table.derive(key, value, changes)
        if resend or stale:
            rows[RESEND] = self._pack_resend()
        written = records[-1].timestamp / 1000 if records else self._written
        position = Position.decode(rows[POSITION]) if POSITION in rows else self.position
        self._write(rows, changes, following, fence, written)
        self.position = position
        progress = self.progress
        progress.next = following
        progress.records += len(records)
        progress.tables.update({name[:-1].decode(): n for name, n in counts.items() if len(name) > 1})

    def _write(self, rows: Rows, changes: Changes, following: int, fence: int, written: float) -> None:
        """Write rows and derived rows, as read up to `following`; if it fails, nothing changes."""
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
        """Return the position and a snapshot of the rows as of the last commit; the caller must close it.

        Raises:
            ClosedError: the rows are being closed.
        """
        rows = self._store.snapshot()
        return Position.decode(rows.get(POSITION)), rows

    def peek(self) -> tuple[Position, Snapshot]:
        """Return the same for a few reads, before the event loop continues, which also writes."""
        return Position.decode(self._store.get(POSITION)), BoundedRead(self._store)

    def close(self) -> None:
        """Close the rows on disk; they are kept."""
        self._store.close()


def chunked(records: Sequence[Any], following: int) -> Iterable[tuple[Sequence[Any], int]]:
    """Split records into chunks, each with the next offset to read."""
    for i in range(0, max(len(records), 1), CHUNK_RECORDS):
        part = records[i : i + CHUNK_RECORDS]
        yield part, following if i + CHUNK_RECORDS >= len(records) else part[-1].offset + 1
