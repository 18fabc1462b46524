"""The interfaces between tables and the commits of agents."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any, Protocol, TypeVar

from millstream.errors import DeclarationError
from millstream.state.replica import Changes, Table

E_co = TypeVar("E_co", covariant=True)


# Later than all event times, in seconds since the epoch: the calendar ends before.
LATEST = 1 << 38


class CannotAnswerError(Exception):
    """The table cannot answer the query; the text says why."""


@dataclass(frozen=True)
class Range:
    """Selects rows of a key in a query.

    Attributes:
        start: the earliest event time, seconds since the epoch.
        end: the event time before which the last row begins.
        limit: maximum number of rows.
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
    """A table that can be queried over HTTP.

    Attributes:
        kind: the kind of table, in a word or two.
    """

    kind: str

    def info(self, readers: Sequence[Reader]) -> dict[str, Any]:
        """Return facts about the whole table, as JSON."""
        ...

    def query(self, readers: Sequence[Reader], key: str, rows: Range) -> dict[str, Any] | None:
        """Return the partitions' rows of a key, as JSON; None if there are none."""
        ...


class Commit(Reader, Protocol):
    """The commit of one batch, as a table uses it.

    Attributes:
        index: batch index of the event that the agent is processing: the origin of what is sent.
        serial: number of events that the partition has processed, including this batch. It is unique among
            the batches that processed any.
        cache: in-memory data of tables about the partition's rows. It may include data from failed batches,
            and is cleared when another owner may have changed the rows.
    """

    index: int
    serial: int
    cache: dict[bytes, Any]

    @property
    def watermarks(self) -> Sequence[float]:
        """The watermark after each event of the batch, then the one that it moves to after all of them."""
        ...

    def passed(self, at: float) -> None:
        """Make the event that moved the watermark to `at` or beyond the origin of what is sent."""
        ...

    def late(self, table: str, by: float) -> None:
        """Record that the current event is too late for a table.

        Args:
            table: the table's name.
            by: how many seconds the watermark was beyond the limit.
        """
        ...

    def repeated(self, table: str, count: int) -> None:
        """Record that a table has dropped events of the batch as repeats.

        Args:
            table: the table's name.
            count: number of dropped events.
        """
        ...

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows as they were before this batch, in order."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read rows as they were before this batch."""
        ...

    def at_end(self, table: Table, fold: Callable[[Changes], None]) -> None:
        """Register `fold` to add a table's changes when the agent's block has ended without an error.

        Raises:
            DeclarationError: the table is not attached to the batch's source, or was opened before.
        """
        ...


class Batch(Protocol[E_co]):
    """Events of one source partition."""

    @property
    def events(self) -> Sequence[E_co]:
        """The valid events, in order."""
        ...

    @property
    def origins(self) -> Sequence[int]:
        """Offset at which each event first appeared; retries keep it."""
        ...

    @property
    def watermarks(self) -> Sequence[float]:
        """The watermark after each event."""
        ...

    def pick(self, indices: Iterable[int]) -> Iterator[E_co]:
        """Yield the events with these indices."""
        ...


def due_keys(commit: Commit, prefix: bytes, end: bytes) -> list[bytes]:
    """Return the keys with a prefix that come before `end` and that no earlier batch has got.

    The caller must delete them. A scan that starts at the prefix would pass over deleted rows, and take ever
    longer until RocksDB compacts them.
    """
    start = commit.cache.get(prefix, prefix)
    if end <= start:
        return []
    commit.cache[prefix] = end
    return [key for key, _ in commit.scan(start, end)]


def iso(seconds: float) -> str:
    """Format a time, seconds since the epoch, as ISO-8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def from_iso(seconds: float) -> str:
    """Format a time rounded down, so that a query that starts there includes it."""
    return iso(floor(seconds * 1_000_000) / 1_000_000)


def whole_seconds(table: str, what: str, length: timedelta, *, least: int = 0) -> int:
    """Return a duration in seconds.

    Raises:
        DeclarationError: it is not a whole number of seconds, or less than `least`.
    """
    seconds = int(length.total_seconds())
    if seconds != length.total_seconds() or seconds < least:
        wanted = "a positive number of whole seconds" if least else "a whole number of seconds"
        raise DeclarationError(f"{what} of table {table!r}: {length} is not {wanted}")
    return seconds
