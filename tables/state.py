"""All tables of one source partition, exact through crashes: RocksDB as a cache of the state log."""

import logging
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from tables.log import FENCE, POSITION, Entry, Log, LogRecord, Position, entry, unpack
from tables.store import Store

logger = logging.getLogger(__name__)

# Rows of RocksDB only: how far the log has been read, and the keys that must be sent again.
LOG = b"\0log"
RESEND = b"\0resend"

_LOG = struct.Struct(">qq")


class FencedError(Exception):
    """Another worker has taken the partition over."""


class Changes:
    """What a stretch of events changes.

    Attributes:
        rows: rows of the tables, which go to the state log too (None deletes one).
        derived: rows that follow from them, kept in RocksDB only.
        ranges: ranges of derived rows that are deleted.
    """

    __slots__ = ("derived", "ranges", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self.derived: dict[bytes, bytes | None] = {}
        self.ranges: list[tuple[bytes, bytes]] = []

    def update(self, later: "Changes") -> None:
        """Add the changes of the next stretch."""
        self.rows.update(later.rows)
        self.derived.update(later.derived)
        self.ranges.extend(later.ranges)


class Table(Protocol):
    """What the state must know of a table."""

    name: str

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        """Add to `changes` the derived rows that follow from one row of the table."""
        ...


class State:
    """The tables of one source partition: always the state after a whole number of commits of its log.

    Args:
        log: the state log.
        store: the rows on disk.
        tables: the tables; a row's key begins with its table's name and a zero byte.

    Attributes:
        position: what the committed state holds.
        epoch: offset of our fence.
    """

    def __init__(self, log: Log, store: Store, tables: Iterable[Table]) -> None:
        self._log = log
        self._store = store
        self._tables: Mapping[bytes, Table] = {table.name.encode(): table for table in tables}
        self._pending: dict[bytes, bytes | None] = {}
        self._staged: list[Changes] = []
        self.epoch = -1
        self.restored = 0
        self._load()

    def _load(self) -> None:
        raw = self._store.get(LOG)
        self._next, self._fence = _LOG.unpack(raw) if raw else (0, -1)
        self._resend: set[bytes] = set(msgspec.msgpack.decode(self._store.get(RESEND) or b"\x90"))
        self.position = Position.decode(self._store.get(POSITION))

    async def acquire(self) -> None:
        """Become the owner: append a fence, then read the log up to it.

        What was staged and not committed is dropped.
        """
        self._pending.clear()
        self._staged.clear()
        self.epoch = await self._log.append([Entry(FENCE, b"", [])])
        start = await self._log.start()
        if self._next > self.epoch:
            self._store.reset(
                f"is ahead of its state log ({self._next} > {self.epoch}: the topic is a new one)"
            )
            self._load()
        elif self._next < start and self._next:
            self._store.reset(f"ends at {self._next}, before the start of its state log ({start})")
            self._load()
        self.restored = 0
        await self._read(self.epoch)
        self._next, self._fence = self.epoch + 1, self.epoch
        self._store.write({LOG: _LOG.pack(self._next, self._fence)})
        self.position = Position.decode(self._store.get(POSITION))
        if self._resend:
            await self.commit(Changes(), self.position)

    async def _read(self, end: int) -> None:
        """Apply the log up to `end`; remember the keys of records that do not count."""
        if self._next < end:
            async for records in self._log.read(self._next, end):
                self._apply(records)

    def _apply(self, records: Sequence[LogRecord]) -> None:
        changes = Changes()
        for record in records:
            key = record.key
            if key == FENCE:
                self._fence = max(self._fence, record.offset)
                continue
            epoch, value = unpack(record)
            if epoch < self._fence:
                if key != POSITION:  # each commit sends a position of its own
                    self._resend.add(key)
                continue
            self._fence = epoch  # its fence may have been compacted away
            self._resend.discard(key)
            changes.rows[key] = value
            table = self._tables.get(key.partition(b"\0")[0])
            if table is not None:
                table.derive(key, value, changes)
        self.restored += len(records)
        self._next = records[-1].offset + 1
        changes.rows[LOG] = _LOG.pack(self._next, self._fence)
        changes.rows[RESEND] = self._pack_resend()
        self._store.write(changes.rows, changes.derived, changes.ranges)

    def _pack_resend(self) -> bytes | None:
        return msgspec.msgpack.encode(sorted(self._resend)) if self._resend else None

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read rows as they are after all that was staged; None stands for one that is not there."""
        pending = self._pending
        if not pending:
            return self._store.get_many(keys)
        missing = [key for key in keys if key not in pending]
        stored = iter(self._store.get_many(missing))
        return [pending[key] if key in pending else next(stored) for key in keys]

    def get_committed(self, key: bytes) -> bytes | None:
        """Read a row as of the last commit."""
        return self._store.get(key)

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, as of the last commit."""
        return self._store.scan(start, end)

    def stage(self, changes: Changes) -> None:
        """Make changes visible to the batches that follow, before they are committed."""
        self._staged.append(changes)
        self._pending.update(changes.rows)
        self._pending.update(changes.derived)

    async def commit(self, changes: Changes, position: Position) -> None:
        """Append the changes and the position to the log as one batch, then apply them.

        Raises:
            FencedError: another worker owns the partition now; this state must not be used any more.
            TooLargeError: the changes do not fit into one batch; nothing was appended.
        """
        rows = dict(changes.rows)
        for key in self._resend.difference(rows):
            rows[key] = self._store.get(key)
        rows[POSITION] = position.encode()
        epoch = self.epoch
        base = await self._log.append([entry(epoch, key, value) for key, value in rows.items()])
        if base != self._next:
            # Somebody wrote between our commits: a new owner, or a worker that does not know that it lost.
            await self._read(base)
            if self._fence > epoch:
                raise FencedError(f"a fence with epoch {self._fence} stands after ours ({epoch})")
        self._next = base + len(rows)
        if self._resend:
            self._resend.difference_update(rows)
            rows[RESEND] = self._pack_resend()
        rows[LOG] = _LOG.pack(self._next, epoch)
        self._store.write(rows, changes.derived, changes.ranges)
        self.position = position
        if self._resend:
            await self.commit(Changes(), position)

    def applied(self, staged: Sequence[Changes]) -> None:
        """Forget staged changes, oldest first, that have been committed."""
        del self._staged[: len(staged)]
        if not self._staged:
            self._pending.clear()
            return
        pending = self._pending
        for changes in staged:
            for changed in (changes.rows, changes.derived):
                for key, value in changed.items():
                    # The same object: no later change of the key is waiting. (None is always the same.)
                    if pending.get(key, self) is value and not (value is None and self._is_staged(key)):
                        del pending[key]

    def _is_staged(self, key: bytes) -> bool:
        return any(key in changes.rows or key in changes.derived for changes in self._staged)

    def close(self) -> None:
        """Close the rows on disk; they stay."""
        self._store.close()
