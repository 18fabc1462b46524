"""All tables of one source partition, exact across crashes: RocksDB is a cache of the state log."""

import logging
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from millstream.state.errors import FencedError
from millstream.state.log import POSITION, WHOLE, Log, Position, entry, fence
from millstream.state.replica import RESEND, TOPIC, Changes, Progress, Replica, Table, chunked
from millstream.state.store import Rows, Store, overlaid

logger = logging.getLogger(__name__)

# The first row that is not of RocksDB alone, among the rows that begin with a zero byte.
FIRST_ROW = TOPIC + b"\1"
# Size of a commit that sends rows again to a log that has lost its beginning.
RESEND_BYTES = 2 << 20
# Number of recently written rows that are kept in memory, and their maximum size: counts change again and
# again, and reads from RocksDB are slow.
RECENT_ROWS = 10_000
RECENT_BYTES = 64


class _Staged:
    """Changes that are not committed yet."""

    def __init__(self, changes: Changes) -> None:
        self.changes = changes

    @cached_property
    def keys(self) -> list[bytes]:
        """All changed keys, in order. They are cached because ranges are looked up many times."""
        return sorted([*self.changes.rows, *self.changes.derived])

    def between(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield the changes in a range of keys."""
        rows, derived, keys = self.changes.rows, self.changes.derived, self.keys
        for key in keys[bisect_left(keys, start) : bisect_left(keys, end)]:
            yield key, rows[key] if key in rows else derived[key]


class State(Replica):
    """The tables of one source partition, for their owner.

    The rows always correspond to a whole number of commits of the log.

    Args:
        log: the state log.
        store: the rows on disk.
        tables: the tables; a row's key begins with its table's name and a zero byte.

    Attributes:
        cache: in-memory data of tables; see `millstream.tables.table.Commit`.
        epoch: offset of this owner's fence.
        progress: progress of the last `acquire`.
    """

    def __init__(self, log: Log, store: Store, tables: Iterable[Table]) -> None:
        super().__init__(log.topic_id, store, tables)
        self._log = log
        self._staged: list[_Staged] = []
        # The last written value of each staged row, and of some others.
        self._latest: Rows = {}
        self.cache: dict[bytes, Any] = {}
        self.epoch = -1

    async def acquire(self) -> None:
        """Become the owner: append a fence, then read the log up to it.

        Changes that were staged and not committed are dropped.
        """
        self._staged.clear()
        self._drop_committed()
        self.cache.clear()
        self.epoch = await self._log.append([fence()])
        start = await self._log.start()
        self.fit(start, self.epoch)
        copied = self.next > 0
        self.next = max(self.next, start)
        self.progress = Progress(self.next, self.epoch, self.next)
        await self._read(self.epoch)
        self._write({}, Changes(), self.epoch + 1, self.epoch, time.time())
        if start > int(self._store.get(WHOLE) or 0):
            if copied:
                await self._resend_all(start)
            else:
                self.lost = f"its state log begins at {start}: earlier rows are gone, and no copy is here"
                logger.error("%s: %s", self._store.path, self.lost)
        if self._resend:
            await self.commit(Changes(), self.position)

    async def _resend_all(self, start: int) -> None:
        """Send all rows again, because the log has lost its beginning and this copy is complete."""
        logger.warning(
            "%s: its state log begins at %d now; all rows are sent to it again", self._store.path, start
        )
        derived = tuple(table.derived for table in self._derived_tables.values() if table.derived is not None)
        changes, size = Changes(), 0
        for key, value in self._store.scan(FIRST_ROW, b"\xff" * 8):
            if key.startswith(derived):
                continue
            changes.rows[key] = value
            size += len(key) + len(value)
            if size > RESEND_BYTES:
                await self.commit(changes, self.position)
                changes, size = Changes(), 0
        changes.rows[WHOLE] = b"%d" % start
        await self.commit(changes, self.position)

    async def _read(self, end: int) -> None:
        """Apply the log up to `end`."""
        if self.next < end:
            async for records in self._log.read(self.next, end):
                for part, following in chunked(records, records[-1].offset + 1):
                    self.apply(part, following)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read rows, including all staged changes; a missing row is None."""
        return overlaid(keys, self._latest, self._written_or_derived)

    def _written_or_derived(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        found = self._store.get_many(keys)
        for staged in self._staged:
            if derived := staged.changes.derived:
                for i, key in enumerate(keys):
                    if key in derived:
                        found[i] = derived[key]
        return found

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, including all staged changes."""
        rows: dict[bytes, bytes | None] = dict(self._store.scan(start, end))
        for staged in self._staged:
            rows.update(staged.between(start, end))
            for first, last in staged.changes.ranges:
                rows = {key: value for key, value in rows.items() if not first <= key < last}
        return sorted((key, value) for key, value in rows.items() if value is not None)

    def stage(self, changes: Changes) -> None:
        """Make changes visible to the following batches; the caller must not modify them afterwards."""
        if len(self._latest) > RECENT_ROWS + sum(len(staged.changes.rows) for staged in self._staged):
            self._drop_committed()
        self._staged.append(_Staged(changes))
        self._latest.update(changes.rows)

    def _drop_committed(self) -> None:
        self._latest.clear()
        for staged in self._staged:
            self._latest.update(staged.changes.rows)

    async def commit(self, changes: Changes, position: Position) -> None:
        """Append the changes and the position to the log as one batch, then apply them.

        Args:
            changes: the oldest staged changes; anything if nothing is staged.
            position: the source position of the state with these changes.

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
        if base != self.next:
            # Another writer came between two commits: a new owner, or a worker that does not know that it was
            # fenced.
            self._drop_committed()
            await self._read(base)
            if self._fence > epoch:
                raise FencedError(f"a fence with epoch {self._fence} comes after this owner's ({epoch})")
        following = base + len(rows)
        if self._resend:
            self._resend.difference_update(rows)
            rows[RESEND] = self._pack_resend()
        self._write(rows, changes, following, epoch, time.time())
        if not self._staged:
            self._latest.clear()  # `_latest` does not include these changes
        self.position = position
        if self._resend:
            await self.commit(Changes(), position)

    def applied(self, staged: Sequence[Changes]) -> None:
        """Remove staged changes, oldest first, that have been committed."""
        del self._staged[: len(staged)]
        later = [one.changes.rows for one in self._staged]
        for changes in staged:
            for key, value in changes.rows.items():
                if value is not None and len(value) > RECENT_BYTES and not any(key in rows for rows in later):
                    self._latest.pop(key, None)
