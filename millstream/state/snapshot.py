"""Snapshots of a partition's rows, readable from any thread."""

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from rocksdict import Rdict

logger = logging.getLogger(__name__)

# Readers notice at their next row that the rows are being closed.
CLOSE_SECONDS = 1.0

# The limit of a bounded read. Each row counts as its value plus ROW_BYTES.
PEEK_BYTES = 16_384
ROW_BYTES = 128


class ClosedError(Exception):
    """The rows are closed: the partition moves to another worker, or the worker stops."""


class TooMuchError(Exception):
    """A bounded read has exceeded its limit."""


class Sorted(Protocol):
    """Rows sorted by key."""

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, in order."""
        ...


class Snapshot(Sorted, Protocol):
    """Sorted rows that do not change. The caller must close them."""

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Read the last of these rows; None if there is none."""
        ...

    def close(self) -> None:
        """Release the rows."""
        ...


class Rows:
    """Rows in memory, which must not be changed afterwards; see `Snapshot`."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self._rows = rows
        self._keys = sorted(rows)

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        return self._rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order."""
        for at in range(bisect_left(self._keys, start), len(self._keys)):
            key = self._keys[at]
            if key >= end:
                return
            yield key, self._rows[key]

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Return the last of these rows; None if there is none."""
        at = bisect_left(self._keys, end) - 1
        if at < 0 or self._keys[at] < start:
            return None
        return self._keys[at], self._rows[self._keys[at]]

    def close(self) -> None:
        """Do nothing."""


class Snapshots:
    """The open snapshots of a database. It must not be closed before them.

    RocksDB stays open and locked as long as one of them exists, even for this process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 0
        self.closing = False

    def take(self, db: Rdict) -> "RocksSnapshot":
        """Return a snapshot of the database.

        Raises:
            ClosedError: the database is being closed.
        """
        with self._changed:
            if self.closing:
                raise ClosedError
            self._open += 1
        try:
            return RocksSnapshot(db, self)
        except BaseException:
            self.done()
            raise

    def done(self) -> None:
        """Note that a snapshot is closed."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until all snapshots are closed."""
        deadline = time.monotonic() + CLOSE_SECONDS
        with self._changed:
            self.closing = True
            while self._open and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._open:
                logger.warning("%d queries still read a database that is being closed", self._open)


class RocksSnapshot:
    """Rows of RocksDB; see `Snapshot`."""

    def __init__(self, db: Rdict, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        # rocksdict's snapshots are correct for single rows, but their iterators also show later writes. An
        # iterator of the database keeps the state of when it was created.
        while True:
            number = db.latest_sequence_number()
            self._rows: Any = db.snapshot()
            self._cursor: Any = db.iter()
            if db.latest_sequence_number() == number:  # no write came between the two
                break
        self._scan: object = None  # the scan that the cursor belongs to

    def get(self, key: bytes) -> bytes | None:
        """Read one row.

        Raises:
            ClosedError: the database is being closed.
        """
        self._check()
        try:
            value: bytes = self._rows[key]
        except Exception as exc:  # rocksdict raises bare Exceptions
            if str(exc) == "key not found":
                return None
            raise
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order.

        Raises:
            ClosedError: the database is being closed.
        """
        this = object()
        while True:
            self._check()
            cursor = self._cursor
            if self._scan is this:
                cursor.next()
            else:
                cursor.seek(start)
                self._scan = this
            key = cursor.key() if self._found(cursor) else end
            if key >= end:
                return
            value = cursor.value()
            start = key + b"\0"
            del cursor  # a scan that is never finished must not hold the cursor
            yield key, value

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Return the last row from key `start` up to, not including, `end`; None if there is none.

        Raises:
            ClosedError: the database is being closed.
        """
        self._check()
        cursor, self._scan = self._cursor, None
        cursor.seek_for_prev(end)
        if self._found(cursor) and cursor.key() == end:
            cursor.prev()
        if not self._found(cursor) or cursor.key() < start:
            return None
        return cursor.key(), cursor.value()

    def close(self) -> None:
        """Release the rows."""
        if self._rows is not None:
            self._rows = self._cursor = None
            self._snapshots.done()

    @staticmethod
    def _found(cursor: Any) -> bool:
        if cursor.valid():
            return True
        cursor.status()  # raises the error, unless this is just the end
        return False

    def _check(self) -> None:
        if self._snapshots.closing or self._rows is None:
            raise ClosedError


class BoundedRead:
    """Reads a few current rows, for callers that read before anything can be written; see `Snapshot`.

    It needs neither a snapshot nor a thread, which would have to wait for the interpreter's lock.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: Sorted) -> None:
        self._rows = rows
        self._left = PEEK_BYTES

    def get(self, key: bytes) -> bytes | None:
        """Read one row.

        Raises:
            TooMuchError: the limit is exceeded.
        """
        value = self._rows.get(key)
        self._count(value)
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order.

        Raises:
            TooMuchError: the limit is exceeded.
        """
        for key, value in self._rows.scan(start, end):
            self._count(value)
            yield key, value

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:  # noqa: ARG002 (see `Snapshot`)
        """Refuse: this is not a bounded read.

        Raises:
            TooMuchError: always.
        """
        raise TooMuchError

    def close(self) -> None:
        """Do nothing."""

    def _count(self, value: bytes | None) -> None:
        self._left -= ROW_BYTES + len(value or b"")
        if self._left < 0:
            raise TooMuchError
