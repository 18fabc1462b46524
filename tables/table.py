"""What a table and the agent that uses it are to each other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any, Protocol, TypeVar

from tables.replica import Changes, Table

E_co = TypeVar("E_co", covariant=True)


# Behind all event times, seconds since the epoch: the calendar ends before.
LATEST = 1 << 38


class CannotAnswerError(Exception):
    """The table cannot answer this; the text says why."""


@dataclass(frozen=True)
class Range:
    """Which rows of a key a query asks for.

    Attributes:
        start: event time of the first, seconds since the epoch.
        end: event time before which the last begins.
        limit: how many rows at most.
    """

    start: float = 0
    end: float = LATEST
    limit: int = 1000


class Reader(Protocol):
    """Committed rows of one source partition, for queries."""

    @property
    def partition(self) -> int:
        """Number of the source partition."""
        ...

    @property
    def watermark(self) -> float:
        """Largest event time less the source's out-of-orderness, seconds since the epoch."""
        ...

    def get_committed(self, key: bytes) -> bytes | None:
        """Read one row."""
        ...

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read the rows from key `start` up to, not including, `end`, in order."""
        ...


class Queryable(Table, Protocol):
    """A table that can be asked over HTTP.

    Attributes:
        kind: what sort of table it is, in a word or two.
    """

    kind: str

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return what there is to say of the whole table, as JSON."""
        ...

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any] | None:
        """Return what the partitions hold of a key, as JSON; None if it is nothing."""
        ...


class Out(Reader, Protocol):
    """The commit of one batch, as a table sees it.

    Attributes:
        index: which event of the batch the agent is at: the origin of what is sent.
        serial: number of events that the partition has taken in with this batch; no other batch that took
            in any has it.
        cache: what tables know in memory of the partition's rows, also from batches that failed; it is
            empty again when another owner may have changed them.
    """

    index: int
    serial: int
    cache: dict[bytes, Any]

    @property
    def watermarks(self) -> Sequence[float]:
        """For each event of the batch, the watermark up to and with it; then what it moves to behind them."""
        ...

    def passed(self, at: float) -> None:
        """Be at what has moved the watermark to `at` or beyond: the origin of what is sent."""
        ...

    def late(self, table: str, by: float) -> None:
        """Note that a table does not take the event that the agent is at.

        Args:
            table: its name.
            by: how many seconds the watermark was too far.
        """
        ...

    def repeated(self, table: str, count: int) -> None:
        """Note that a table does not let events of the batch pass, because it has seen them before.

        Args:
            table: its name.
            count: how many.
        """
        ...

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows as they are before this batch, in order."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read rows as they are before this batch."""
        ...

    def at_end(self, fold: Callable[[Changes], None]) -> None:
        """Have `fold` add a table's changes when the agent's block has ended well."""
        ...


class Batch(Protocol[E_co]):
    """Events of one source partition."""

    @property
    def events(self) -> Sequence[E_co]:
        """The valid events, in order."""
        ...

    @property
    def origins(self) -> Sequence[int]:
        """Offset of each event's first appearance."""
        ...

    @property
    def watermarks(self) -> Sequence[float]:
        """For each event, the watermark up to and with it."""
        ...

    def pick(self, indices: Iterable[int]) -> Iterator[E_co]:
        """Yield the events with these indices."""
        ...


def due_keys(out: Out, prefix: bytes, end: bytes) -> list[bytes]:
    """Return the keys with a prefix that lie before `end`, and that an earlier batch was not told of.

    Whoever asks deletes them. To go through what is deleted again would take ever longer, until RocksDB
    compacts it.
    """
    start = out.cache.get(prefix, prefix)
    if end <= start:
        return []
    out.cache[prefix] = end
    return [key for key, _ in out.scan(start, end)]


def iso(seconds: float) -> str:
    """Write a moment, seconds since the epoch, as ISO-8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def from_iso(seconds: float) -> str:
    """Write a moment so that a query from there on does not miss it: not later than it is."""
    return iso(floor(seconds * 1_000_000) / 1_000_000)


def whole_seconds(table: str, what: str, length: timedelta, *, least: int = 0) -> int:
    """Return a length of time in seconds.

    Raises:
        ValueError: it is not a whole number of them, or less than `least`.
    """
    seconds = int(length.total_seconds())
    if seconds != length.total_seconds() or seconds < least:
        wanted = "a positive number of whole seconds" if least else "a whole number of seconds"
        raise ValueError(f"{what} of table {table!r}: {length} is not {wanted}")
    return seconds
