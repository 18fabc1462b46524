"""Read access of queries to tables: committed rows of partitions, including rows from other workers."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from millstream.state.snapshot import Snapshot

Scan = Callable[[bytes, bytes], Iterable[tuple[bytes, bytes]]]


@dataclass(frozen=True)
class Committed:
    """The committed rows of one source partition; see `millstream.tables.table.Reader`.

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


class RecordingRows:
    """Records which rows were read, so that another worker can repeat the query from these rows.

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
        """Release the rows."""
        self._rows.close()


def keys_of_rows(
    scan: Scan, table: bytes, prefix: str, after: str | None, *, skip: bytes = b""
) -> Iterator[tuple[str, bytes]]:
    """Yield key and value of rows, in key order, for tables with one row per key.

    Args:
        scan: reads a range of rows.
        table: prefix of the rows' keys, followed by the key.
        prefix: prefix of the keys.
        after: the last key of the previous page; None for the first page.
        skip: a row to leave out.
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
    """Yield the keys that have rows, in order, each once. It takes one seek per key, not per row.

    A key that is another key followed by a zero character may be left out.

    Args:
        scan: reads a range of rows.
        table: prefix of the rows' keys, followed by the key, a zero byte, and a suffix of fixed length.
        prefix: prefix of the keys.
        after: the last key of the previous page; None for the first page.
        last: a suffix that sorts after all suffixes in use.
        skip: a row to leave out.
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
    return table + prefix.encode() + b"\xff"  # this byte is in no key: keys are UTF-8
