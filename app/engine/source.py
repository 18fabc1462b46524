"""What the engine must be told about a topic that it reads in batches, and about the state beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class ConsumerRecord(Protocol):
    """One record as Kafka gave it; `timestamp` is in milliseconds since the epoch."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Position(Protocol):
    """How far a state has come; see `tables.log.Position`."""

    offsets: dict[str, int]
    watermark: float
    applied: int
    flood: tuple[int, int, int]


class Progress(Protocol):
    """How far the reading of a state log has come; see `tables.replica.Progress`."""

    start: int
    end: int
    next: int
    records: int
    tables: Mapping[str, int]

    @property
    def rate(self) -> float:
        """Records a second."""
        ...

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None while nothing was read."""
        ...


class Readable(Protocol):
    """What queries read; see `tables.replica.Replica`."""

    def snapshot(self) -> tuple[Any, Any]:
        """Return the position and the rows as of the last commit, to be closed."""
        ...

    def glance(self) -> tuple[Any, Any]:
        """Return the same for a few reads, before the event loop goes on."""
        ...


class Replica(Readable, Protocol):
    """A copy of a state log; see `tables.replica.Replica`."""

    next: int

    def fit(self, start: int, end: int) -> None:
        """Set rows aside that cannot be continued from a log with the offsets from `start` to `end`."""
        ...

    def apply(self, records: Sequence[Any], following: int) -> None:
        """Apply records of the log; `following` is the offset to go on from."""
        ...

    def close(self) -> None:
        """Release the copy; it stays on disk."""
        ...


class State(Readable, Protocol):
    """The tables of one source partition.

    Attributes:
        position: what the committed state holds.
        progress: how far the last `acquire` has come in the state log.
        lost: why rows were lost that only this log or this disk held; None if none were.
        cache: what tables keep in memory from batch to batch.
    """

    position: Any
    progress: Any
    cache: dict[bytes, Any]
    lost: str | None

    async def acquire(self) -> None:
        """Become the owner of the partition, and restore its state."""
        ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read rows as they are after all that was staged."""
        ...

    def scan(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows as they are after all that was staged, in order."""
        ...

    def get_committed(self, key: bytes) -> bytes | None:
        """Read a row as of the last commit."""
        ...

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows as of the last commit."""
        ...

    def stage(self, changes: Any) -> None:
        """Make changes visible to the batches that follow."""
        ...

    async def commit(self, changes: Any, position: Any) -> None:
        """Write changes and position, whole or not at all."""
        ...

    def applied(self, staged: Sequence[Any]) -> None:
        """Forget staged changes that have been committed."""
        ...

    def sizes(self) -> tuple[int, int, int]:
        """Return the number of rows, their bytes on disk, and their bytes that are in memory only."""
        ...

    def close(self) -> None:
        """Release the state; it stays on disk."""
        ...


@dataclass
class Source:
    """A topic that is read in batches.

    Attributes:
        topic: its name.
        key: field of an event that is the record's key.
        decode: turns records into events; in place of a value that is none stands an exception with a
            `code` and a `reason`.
        event_time: returns an event's time, seconds since the epoch.
        dead_letters: name of the topic for what is no event.
        late: name of the topic for events that a table does not take any more; None if it has none.
        out_of_order: how far an event time may lie behind the largest one before it, without the event being
            late; seconds.
        idle: seconds without events after which the watermark moves with the wall clock; None for never.
        behind: name of the source topic whose agent sends the records of this one: the watermark comes from
            its partitions, not from the event times; see `app.engine.upstream`. None for a topic of its own.
        tables: the tables that its agent changes.
        keyed: names of those whose keys are the topic's.
        references: the reference topics that its agent looks up.
    """

    topic: str
    key: str
    decode: Callable[[Sequence[ConsumerRecord]], list[Any]]
    event_time: Callable[[Any], float]
    dead_letters: str
    late: str | None = None
    out_of_order: float = 0.0
    idle: float | None = None
    behind: str | None = None
    tables: list[Any] = field(default_factory=list)
    keyed: set[str] = field(default_factory=set)
    references: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Wiring:
    """What the engine gets from outside.

    Attributes:
        open_state: opens the state of a source partition, as its owner.
        open_replica: opens it as a standby.
        log_topic: returns the name of a source's state log.
        stretches: cuts records into stretches that are short enough for the event loop.
        new_changes: makes an empty set of changes; it has `update(later)`.
        position: makes a position from offsets, watermark, number of events and counts of dead letters.
        encode: makes an output's bytes of a value.
        fenced: the exception of `State.commit` that says: another worker owns the partition now.
        too_large: the exception of `State.commit` that says: cut the batch.
    """

    open_state: Callable[[Source, int], State]
    open_replica: Callable[[Source, int], Replica]
    log_topic: Callable[[Source], str]
    stretches: Callable[[Sequence[Any], int], Iterable[tuple[Sequence[Any], int]]]
    new_changes: Callable[[], Any]
    position: Callable[[dict[str, int], float, int, tuple[int, int, int]], Any]
    encode: Callable[[Any], bytes]
    fenced: type[Exception]
    too_large: type[Exception]
