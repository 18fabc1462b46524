"""The rows of a partition as they are at one moment, to be read in any thread."""

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

# What may be read at a glance: each row counts its value and so many bytes more.
GLANCE_BYTES = 16_384
ROW_BYTES = 128


class ClosedError(Exception):
    """The rows are closed: their partition moves, or the worker ends."""


class TooMuchError(Exception):
    """More is asked for than may be read at a glance."""


class Sorted(Protocol):
    """Rows, sorted by key."""

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, in order."""
        ...


class Snapshot(Sorted, Protocol):
    """Rows that do not change. Whoever has them must close them."""

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Read the last of these rows; None if there is none."""
        ...

    def close(self) -> None:
        """Let the rows go."""
        ...


class Rows:
    """Rows in memory, which must not be changed any more; see `Snapshot`."""

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
    """The snapshots of a database that are being read: it must not be closed before them.

    RocksDB would stay open, and locked, as long as one of them is there, also for this very process.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 0
        self.closing = False

    def take(self, db: Rdict) -> "RocksSnapshot":
        """Return the rows of the database as they are now.

        Raises:
            ClosedError: it is being closed.
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
        """Note that one is not read any more."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until none is read any more."""
        deadline = time.monotonic() + CLOSE_SECONDS
        with self._changed:
            self.closing = True
            while self._open and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._open:
                logger.warning("%d queries still read a database that is being closed", self._open)


class RocksSnapshot:
    """Rows of RocksDB; see `Snapshot`."""

    def __init__(self, db: Rdict, all_of: Snapshots) -> None:
        self._all = all_of
        # rocksdict's snapshots are good for single rows, but what iterates over them shows later writes, too.
        # An iterator stays as of when it was made.
        while True:
            number = db.latest_sequence_number()
            self._rows: Any = db.snapshot()
            self._cursor: Any = db.iter()
            if db.latest_sequence_number() == number:  # no write came between the two
                break
        self._scan: object = None  # whose place the cursor is at

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
            del cursor  # a scan that nobody ends must not hold it
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
        """Let the rows go."""
        if self._rows is not None:
            self._rows = self._cursor = None
            self._all.done()

    @staticmethod
    def _found(cursor: Any) -> bool:
        if cursor.valid():
            return True
        cursor.status()  # raises what went wrong, if it is not just the end
        return False

    def _check(self) -> None:
        if self._all.closing or self._rows is None:
            raise ClosedError


class Glance:
    """A few rows as they are now, for who reads them before anything else can be written; see `Snapshot`.

    It needs neither a snapshot nor a thread, which would have to wait for the interpreter's lock.

    Args:
        rows: the rows.
    """

    def __init__(self, rows: Sorted) -> None:
        self._rows = rows
        self._left = GLANCE_BYTES

    def get(self, key: bytes) -> bytes | None:
        """Read one row.

        Raises:
            TooMuchError: that is more.
        """
        value = self._rows.get(key)
        self._count(value)
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order.

        Raises:
            TooMuchError: that is more.
        """
        for key, value in self._rows.scan(start, end):
            self._count(value)
            yield key, value

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:  # noqa: ARG002 (see `Snapshot`)
        """Find no last row: that is no glance.

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
