"""What an answer is made of: the rows of partitions, here or as another worker has read them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from faust.types import TP
from rocksdict import DbClosedError

from app.engine.engine import Engine
from app.engine.partition import Partition
from app.engine.source import Readable
from tables.reading import Committed, Recorded
from tables.snapshot import ClosedError, Rows, Snapshot
from tables.table import iso

T = TypeVar("T")


class MovingError(Exception):
    """A partition that was here is not surely here any more."""


class Part(msgspec.Struct):
    """What was read of one partition.

    Attributes:
        topic: its topic.
        partition: its number.
        offset: of the first of its events that the rows do not hold; None if they hold none.
        watermark: of the same events, seconds since the epoch.
        worker: URL of the worker that has read it.
        owner: whether that owns the partition; else it is a standby.
        staleness: seconds that the rows may be behind the owner's.
        rows: the rows that it took.
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
        """Return the rows for a table to read."""
        return Committed(self.partition, self.watermark, Rows(self.rows))

    def shown(self) -> dict[str, Any]:
        """Return what an answer says of it, as JSON."""
        return {
            "partition": self.partition,
            "offset": self.offset,
            "as_of": as_of(self.watermark),
            "worker": self.worker,
            "role": "owner" if self.owner else "standby",
            "staleness": round(self.staleness, 3),
        }


def as_of(watermark: float) -> str | None:
    """Write a watermark; None while there is none."""
    return iso(watermark) if watermark else None


Opened = Mapping[TP, tuple[Part, Snapshot]]


@dataclass(frozen=True)
class Held:
    """A copy of a partition that this worker holds.

    Attributes:
        tp: the partition.
        copy: opens position and rows.
        partition: the partition, if this worker surely owns it; None for a copy.
        staleness: seconds that the copy may be behind.
    """

    tp: TP
    copy: Readable
    partition: Partition | None = None
    staleness: float = 0.0

    def part(self, url: str, position: Any) -> Part:
        """Return what was read of it, without rows."""
        topic, number = self.tp
        return Part(
            topic,
            number,
            position.offsets.get(topic),
            position.watermark,
            url,
            self.partition is not None,
            self.staleness,
        )


def owned(engine: Engine, tps: Iterable[TP]) -> list[Held]:
    """Return those of the partitions that this worker surely owns, with their state restored."""
    if not engine.lease.holds:
        return []
    partitions = ((tp, engine.partitions.get(tp)) for tp in tps)
    return [
        Held(tp, partition.state, partition)
        for tp, partition in partitions
        if partition is not None and partition.tag is not None
    ]


def copied(engine: Engine, tps: Iterable[TP], max_staleness: float) -> list[Held]:
    """Return the copies of partitions that this worker keeps as a standby, if they are fresh enough.

    What it has owned and may have lost (while Kafka does not answer, say) is a copy, too.
    """
    copies = []
    for tp in tps:
        if (copy := engine.standbys.copies.get(tp)) is not None:
            copies.append(Held(tp, copy.replica, staleness=copy.staleness))
        elif (partition := engine.partitions.get(tp)) is not None and partition.tag is not None:
            copies.append(Held(tp, partition.state, staleness=engine.lease.age))
    return [copy for copy in copies if copy.staleness <= max_staleness]


def check(engine: Engine, held: Iterable[Held]) -> None:
    """Check that what was read as the owner was this worker's all the while.

    Raises:
        MovingError: it may not have been.
    """
    for one in held:
        if one.partition is not None and (
            engine.partitions.get(one.tp) is not one.partition
            or one.partition.tag is None
            or not engine.lease.holds
        ):
            raise MovingError(f"{one.partition.name} is moving to another worker")


def read(url: str, held: Sequence[Held], use: Callable[[Opened], T], *, glance: bool = False) -> T:
    """Open copies, and let them be used.

    A long scan must not hold up the pipeline: it is for a thread. The copies are closed before this returns:
    a partition that moves waits for that.

    Args:
        url: of this worker.
        held: the copies.
        use: what for.
        glance: whether it is called by the event loop, which writes the rows: it may read a few as they are.

    Raises:
        MovingError: one is being closed.
        TooMuchError: those are more than a few.
    """
    with ExitStack() as stack:
        try:
            opened = {}
            for one in held:
                position, rows = one.copy.glance() if glance else one.copy.snapshot()
                stack.enter_context(closing(rows))
                opened[one.tp] = (one.part(url, position), rows)
            return use(opened)
        except (ClosedError, DbClosedError):
            raise MovingError("Partitions are moving to another worker") from None


def recorded(opened: Opened, ask: Callable[[TP, Committed], object]) -> list[Part]:
    """Ask each partition, and return the rows that it took."""
    parts = []
    for tp, (part, rows) in opened.items():
        recorder = Recorded(rows)
        ask(tp, Committed(tp.partition, part.watermark, recorder))
        part.rows = recorder.read
        parts.append(part)
    return parts
