"""The rows of one source partition's tables in RocksDB, on this worker's disk."""

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, ReadOptions, WriteBatch, WriteOptions

from millstream.state.snapshot import RocksSnapshot, Snapshots

logger = logging.getLogger(__name__)

Rows = dict[bytes, bytes | None]

_MISSING: Any = object()

FORMAT = b"2"
FORMAT_KEY = b"\0format"

# Writing to a buffer that fits into a core's cache takes little more than half the time. MERGED_BUFFERS of
# them go to disk as one file; if the disk is too slow, writes wait at MOST_BUFFERS.
WRITE_BUFFER = 4 << 20
MERGED_BUFFERS = 4
MOST_BUFFERS = 8
# Number of rows, or of writes, that are passed to RocksDB as one batch. The first row of a batch costs as
# much as dozens of further rows, and a row that changes several times meanwhile is passed once.
TOGETHER_ROWS = 4000
TOGETHER_WRITES = 32
# RocksDB searches for a row's place from that of the last row, so sorted rows take half the time. Sorting
# more rows than this, as in a restore, takes longer than it saves.
SORTED_ROWS = 10_000
# Few rows are flushed to disk after this time: it bounds what is read from the log again after a crash.
FLUSH_SECONDS = 3600.0
BLOCK_CACHE = 64 << 20
# A new id may lie anywhere among the old ones: each merge of this many files rewrites everything on disk.
MERGED_FILES = 8
# A file's filter must fit into a shard, a 64th, of the block cache: otherwise each look-up reads it.
FILE_BYTES = 16 << 20
# Files are synced in parts while they are written: a file that is synced as a whole keeps the disk busy for a
# quarter of a second, and a broker that writes to the same disk waits.
SYNC_BYTES = 1 << 20
# The files of these levels are rewritten too often for compression to pay.
UNCOMPRESSED_LEVELS = 2
# RocksDB's threads yield to the pipeline, but not to other processes for long: otherwise writes would wait.
NICER = 10


class Sizes(NamedTuple):
    """The size of the rows.

    Attributes:
        keys: number of rows, as RocksDB estimates it.
        disk: bytes of the files that hold the rows.
        memory: bytes of the rows that are not in a file yet.
    """

    keys: int
    disk: int
    memory: int


class DirectoryTakenError(Exception):
    """Another worker uses the data directory."""


class DataDirectory:
    """A worker's folder, locked for as long as the process lives.

    Args:
        path: the folder; it is created if it does not exist.

    Raises:
        DirectoryTakenError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = (path / "lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise DirectoryTakenError(
                f"the data directory {path} is in use by another worker (pid {owner}): stop it, "
                "or give this one its own name with MILLSTREAM_WORKER"
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def close(self) -> None:
        """Release the folder for the next worker."""
        self._lock.close()


@cache
def _options() -> Options:
    # One block cache for all partitions of the worker: RocksDB's default is one cache per database.
    table = BlockBasedOptions()
    table.set_bloom_filter(10, block_based=False)
    table.set_block_cache(Cache(BLOCK_CACHE))
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(WRITE_BUFFER)
    options.set_min_write_buffer_number_to_merge(MERGED_BUFFERS)
    options.set_max_write_buffer_number(MOST_BUFFERS)
    options.set_level_zero_file_num_compaction_trigger(MERGED_FILES)
    options.set_target_file_size_base(FILE_BYTES)
    options.set_bytes_per_sync(SYNC_BYTES)
    options.set_min_level_to_compress(UNCOMPRESSED_LEVELS)
    # Most look-ups are of ids that do not exist; a Bloom filter finds that out in memory, too (3 times as
    # fast).
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_memtable_whole_key_filtering(True)
    options.set_block_based_table_factory(table)
    return options


def _lower_priority() -> None:
    """Lower the priority of RocksDB's threads below that of this process's own threads (Linux only)."""
    nice = os.getpriority(os.PRIO_PROCESS, os.getpid()) + NICER
    for name in Path("/proc/self/task").glob("*/comm"):  # none without /proc
        with suppress(OSError):  # the thread has just ended, or may not be changed
            if name.read_text().startswith("rocksdb:"):
                os.setpriority(os.PRIO_PROCESS, int(name.parent.name), nice)


def overlaid(
    keys: Sequence[bytes], rows: Rows, below: Callable[[list[bytes]], Sequence[bytes | None]]
) -> list[bytes | None]:
    """Return the rows of the keys; keys with neither a row nor a deletion in `rows` are read from `below`."""
    found: list[bytes | None] = [rows.get(key, _MISSING) for key in keys]
    if others := [i for i, row in enumerate(found) if row is _MISSING]:
        for i, row in zip(others, below([keys[i] for i in others]), strict=True):
            found[i] = row
    return found


class Store:
    """Rows of bytes, sorted by key.

    After a crash the last writes may be missing, but no earlier ones.

    Args:
        path: folder of the database. A database that cannot be opened, or has another format, is set aside.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._open()

    def _open(self) -> None:
        self._snapshots = Snapshots()
        self._pending: Rows = {}
        self._writes = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = Rdict(str(self.path), _options())
        except Exception as exc:  # rocksdict raises bare Exceptions
            if "lock" in str(exc).lower():
                raise
            self._set_aside(f"cannot be opened ({exc})")
            self._db = Rdict(str(self.path), _options())
        _lower_priority()
        found = self._db.get(FORMAT_KEY)
        if found is None and next(iter(self._db.keys()), None) is None:
            self._db[FORMAT_KEY] = FORMAT
        elif found != FORMAT:
            self._db.close()
            self._set_aside(f"has format {found!r}, not {FORMAT!r}")
            self._open()
            return
        # The state log is the write-ahead log (ADR 15).
        options = WriteOptions()
        options.disable_wal = True
        self._db.set_write_options(options)
        self._flush_at = time.monotonic() + FLUSH_SECONDS

    def _set_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.aside-{time.time_ns()}")
        logger.warning("%s %s: it is kept as %s and rebuilt from its state log", self.path, why, aside)
        shutil.move(self.path, aside)

    def reset(self, why: str) -> None:
        """Set the rows aside and start empty."""
        self.close()
        self._set_aside(why)
        self._open()

    def write(
        self, rows: Rows, derived: Rows | None = None, ranges: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Write rows (None deletes one) and delete ranges of keys, atomically, whatever happens."""
        derived = derived or {}
        with self._lock:
            self._writes += 1
            many = len(self._pending) + len(rows) + len(derived) >= TOGETHER_ROWS
            overdue = time.monotonic() > self._flush_at
            if many or overdue or ranges or self._writes >= TOGETHER_WRITES:
                self._give([self._pending, rows, derived], ranges)
            else:
                self._pending.update(rows)
                self._pending.update(derived)
            if overdue:
                self._flush_at = time.monotonic() + FLUSH_SECONDS
                self._db.flush(wait=False)

    def _give(self, parts: Sequence[Rows], ranges: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Pass rows to RocksDB, including the pending ones; of two values of a key the later one counts."""
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for rows in parts:
            for key in sorted(rows) if len(rows) <= SORTED_ROWS else rows:
                value = rows[key]
                if value is None:
                    delete(key)
                else:
                    put(key, value)
        # After the rows: a log may be read from a range's first row to its deletion in one batch.
        for first, last in ranges:
            batch.delete_range(first, last)
        self._db.write(batch)
        self._pending = {}
        self._writes = 0

    def _settle(self) -> None:
        """Pass all pending rows to RocksDB."""
        with self._lock:
            if self._pending:
                self._give([self._pending])

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        value: bytes | None = self._pending.get(key, _MISSING)
        return self._db.get(key) if value is _MISSING else value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read several rows; a missing row is None."""
        return overlaid(keys, self._pending, self._db.__getitem__)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order."""
        self._settle()
        # Without a bound, it would search for the next row after the range, through all rows that were
        # deleted there.
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        yield from self._db.items(from_key=start, read_opt=options)

    def sizes(self) -> Sizes:
        """Return the size of the rows; this is cheap."""
        number = self._db.property_int_value
        return Sizes(
            number("rocksdb.estimate-num-keys") or 0,
            number("rocksdb.live-sst-files-size") or 0,
            number("rocksdb.cur-size-all-mem-tables") or 0,
        )

    def snapshot(self) -> RocksSnapshot:
        """Return a snapshot of the rows, for a query.

        Raises:
            ClosedError: the database is being closed.
        """
        self._settle()
        return self._snapshots.take(self._db)

    def close(self) -> None:
        """Close the database after the last query has closed its snapshot; the rows are kept."""
        self._snapshots.close()
        try:
            self._settle()
        finally:
            self._db.close()
