"""Reads of partitions for an answer: rows from this worker, or rows that another worker has read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from faust.types import TP
from rocksdict import DbClosedError

from millstream.engine.engine import Engine
from millstream.engine.partition import Partition
from millstream.state.readers import Committed, RecordingRows
from millstream.state.replica import Replica
from millstream.state.snapshot import ClosedError, Rows, Snapshot
from millstream.tables.table import iso

T = TypeVar("T")


class MovingError(Exception):
    """A partition may no longer be owned by this worker."""


class PartitionRead(msgspec.Struct):
    """The rows that were read from one partition.

    Attributes:
        topic: the partition's topic.
        partition: the partition's number.
        offset: offset of the first event that the rows do not include; None if they include none.
        watermark: watermark of the included events, seconds since the epoch.
        worker: URL of the worker that has read the rows.
        owner: whether that worker owns the partition; else it is a standby.
        staleness: how many seconds the rows may be behind the owner's.
        rows: the rows that were read.
    """

    topic: str
    partition: int
    offset: int | None = None
    watermark: float = 0.0
    worker: str = ""
    owner: bool = True
    staleness: float = 0.0
    rows: dict[bytes, bytes] = {}

    @property
    def tp(self) -> TP:
        """The partition."""
        return TP(self.topic, self.partition)

    def reader(self) -> Committed:
        """Return a reader of the rows, for a table."""
        return Committed(self.partition, self.watermark, Rows(self.rows))

    def shown(self) -> dict[str, Any]:
        """Return the facts about the read for an answer, as JSON."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "as_of": as_of(self.watermark),
            "worker": self.worker,
            "role": "owner" if self.owner else "standby",
            "staleness": round(self.staleness, 3),
        }


def as_of(watermark: float) -> str | None:
    """Format a watermark; None if there is none yet."""
    return iso(watermark) if watermark else None


Opened = Mapping[TP, tuple[PartitionRead, Snapshot]]


@dataclass(frozen=True)
class Held:
    """The rows of a partition on this worker.

    Attributes:
        tp: the partition.
        copy: the state or standby; it opens the position and the rows.
        partition: the partition, if this worker certainly owns it; None for a copy.
        staleness: how many seconds the copy may be behind.
    """

    tp: TP
    copy: Replica
    partition: Partition | None = None
    staleness: float = 0.0

    def part(self, url: str, position: Any) -> PartitionRead:
        """Return the facts about the read, without rows."""
        topic, number = self.tp
        return PartitionRead(
            topic,
            number,
            position.offsets.get(topic),
            position.watermark,
            url,
            self.partition is not None,
            self.staleness,
        )


def owned(engine: Engine, tps: Iterable[TP]) -> list[Held]:
    """Return those of the partitions that this worker certainly owns, with their state restored."""
    if not engine.lease.holds:
        return []
    partitions = ((tp, engine.partitions.get(tp)) for tp in tps)
    return [
        Held(tp, partition.cursor.owned_state, partition)
        for tp, partition in partitions
        if partition is not None and partition.at_work
    ]


def copied(engine: Engine, tps: Iterable[TP], max_staleness: float) -> list[Held]:
    """Return the copies of partitions that this worker has, if they are fresh enough.

    A partition whose ownership may be lost (for example while Kafka does not answer) counts as a copy, too.
    """
    copies = []
    for tp in tps:
        if (copy := engine.standbys.copies.get(tp)) is not None:
            copies.append(Held(tp, copy.replica, staleness=copy.staleness))
        elif (partition := engine.partitions.get(tp)) is not None and partition.at_work:
            copies.append(Held(tp, partition.cursor.owned_state, staleness=engine.lease.age))
    return [copy for copy in copies if copy.staleness <= max_staleness]


def check(engine: Engine, held: Iterable[Held]) -> None:
    """Check that this worker has owned the partitions during the whole read.

    Raises:
        MovingError: it may have lost one.
    """
    for one in held:
        if one.partition is not None and (
            engine.partitions.get(one.tp) is not one.partition
            or not one.partition.at_work
            or not engine.lease.holds
        ):
            raise MovingError(f"{one.partition.name} is moving to another worker")


def read(url: str, held: Sequence[Held], use: Callable[[Opened], T], *, peek: bool = False) -> T:
    """Open copies, call `use` with them, and close them.

    A long scan must not block the pipeline: it belongs in a thread. The copies are closed before this
    returns, because a partition that moves waits for that.

    Args:
        url: URL of this worker.
        held: the copies.
        use: reads the opened copies.
        peek: whether the caller is the event loop, which writes the rows: it may read a few current rows
            directly.

    Raises:
        MovingError: a copy is being closed.
        TooMuchError: `peek` is set, and `use` reads more than a few rows.
    """
    with ExitStack() as stack:
        try:
            opened = {}
            for one in held:
                position, rows = one.copy.peek() if peek else one.copy.snapshot()
                stack.enter_context(closing(rows))
                opened[one.tp] = (one.part(url, position), rows)
            return use(opened)
        except (ClosedError, DbClosedError):
            raise MovingError("Partitions are moving to another worker") from None


def recorded(opened: Opened, ask: Callable[[TP, Committed], object]) -> list[PartitionRead]:
    """Run a query on each partition, and return the rows that it has read."""
    parts = []
    for tp, (part, rows) in opened.items():
        recorder = RecordingRows(rows)
        ask(tp, Committed(tp.partition, part.watermark, recorder))
        part.rows = recorder.read
        parts.append(part)
    return parts
