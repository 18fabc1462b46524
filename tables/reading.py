"""How queries read tables: committed rows of partitions, also those that another worker has read."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tables.snapshot import Snapshot

Scan = Callable[[bytes, bytes], Iterable[tuple[bytes, bytes]]]


@dataclass(frozen=True)
class Committed:
    """The committed rows of one source partition; see `tables.table.Reader`.

    Attributes:
        partition: number of the source partition.
        watermark: largest event time less the source's out-of-orderness, seconds since the epoch.
        rows: the rows.
    """

    partition: int
    watermark: float
    rows: Snapshot

    def get_committed(self, key: bytes) -> bytes | None:
        """Read one row."""
        return self.rows.get(key)

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, in order."""
        return self.rows.scan(start, end)

    def last_committed(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Read the last of these rows; None if there is none."""
        return self.rows.last(start, end)


class Recorded:
    """Rows that remember which of them were read: they answer the same question again, elsewhere.

    Args:
        rows: the rows.

    Attributes:
        read: the rows that were read so far.
    """

    def __init__(self, rows: Snapshot) -> None:
        self._rows = rows
        self.read: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Read one row."""
        value = self._rows.get(key)
        if value is not None:
            self.read[key] = value
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows from key `start` up to, not including, `end`, in order."""
        for key, value in self._rows.scan(start, end):
            self.read[key] = value
            yield key, value

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """Read the last of these rows; None if there is none."""
        row = self._rows.last(start, end)
        if row is not None:
            self.read[row[0]] = row[1]
        return row

    def close(self) -> None:
        """Let the rows go."""
        self._rows.close()


def keys_of_rows(
    scan: Scan, table: bytes, prefix: str, after: str | None, *, skip: bytes = b""
) -> Iterator[tuple[str, bytes]]:
    """Yield key and value of rows that each have a key of their own, in the order of the keys.

    Args:
        scan: reads a range of rows.
        table: what the rows' keys begin with; behind it is the key.
        prefix: what the keys begin with.
        after: the key to go on after; None for the first.
        skip: a row that is none of them.
    """
    start = table + prefix.encode()
    if after is not None:
        start = max(start, table + after.encode() + b"\0")
    for row, raw in scan(start, _behind(table, prefix)):
        if row != skip:
            yield row[len(table) :].decode(), raw


def keys_of_places(
    scan: Scan, table: bytes, prefix: str, after: str | None, *, last: bytes, skip: bytes = b""
) -> Iterator[str]:
    """Yield the keys that have rows, in order, each once: the cost is that of the keys, not of their rows.

    A key that is another one and a zero character behind it may be left out.

    Args:
        scan: reads a range of rows.
        table: what the rows' keys begin with; behind it are the key, a zero byte, and a place.
        prefix: what the keys begin with.
        after: the key to go on after; None for the first.
        last: a place behind all that there are.
        skip: a row that is none of them.
    """
    start = table + prefix.encode()
    if after is not None:
        start = max(start, table + after.encode() + b"\0" + last)
    end = _behind(table, prefix)
    while (found := next(iter(scan(start, end)), None)) is not None:
        row, _ = found
        if row == skip:
            start = row + b"\0"
            continue
        key = row[len(table) : -len(last) - 1]
        yield key.decode()
        start = max(table + key + b"\0" + last, row + b"\0")


def _behind(table: bytes, prefix: str) -> bytes:
    return table + prefix.encode() + b"\xff"  # in no key: it is UTF-8
