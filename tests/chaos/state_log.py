"""A state log as it stands in Kafka: who committed what and when, read without the engine's help."""

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from tables.log import FENCE, POSITION, Position, unpack
from tests.chaos.kafka import Group, read
from tests.service import Service


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes:
        at: when Kafka got it, epoch seconds.
        offset: of its last record in the state log.
        position: offset of the source up to which it holds.
        counts: whether no fence of a higher epoch stands before it.
    """

    partition: int
    epoch: int
    at: float
    offset: int
    position: int
    counts: bool


@dataclass
class StateLog:
    """All commits, and the fences as (partition, offset, epoch seconds), each in the order of the log."""

    commits: list[Commit] = field(default_factory=list)
    fences: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def foreign(self) -> int:
        """Number of commits of workers that were the owner no more."""
        return sum(not commit.counts for commit in self.commits)

    def skipped(self, group: Group, source: str) -> int:
        """Return how many events the owners' positions saved from being processed again.

        At each fence: how far the state was ahead of the offset that the group had committed.
        """
        committed: dict[int, list[tuple[float, int]]] = defaultdict(list)
        for at, topic, partition, offset in group.commits:
            if topic == source:
                committed[partition].append((at / 1000, offset))
        total = 0
        for partition, fence, at in self.fences:
            position = max(
                (
                    c.position
                    for c in self.commits
                    if c.partition == partition and c.counts and c.offset < fence
                ),
                default=0,
            )
            known = committed[partition]
            behind = bisect_right(known, (at, 2**62))
            total += max(0, position - (known[behind - 1][1] if behind else 0))
        return total

    def gap(self, partition: int, at: float, moved: bool = True) -> tuple[float, float] | None:
        """Return the seconds since the last commit before a moment, and to the next one.

        Args:
            partition: which.
            at: the moment, epoch seconds.
            moved: whether the next commit must be of another owner.
        """
        commits = [c for c in self.commits if c.partition == partition and c.counts]
        before = [c for c in commits if c.at <= at]
        if not before:
            return None
        after = (c.at for c in commits if c.at > at and (not moved or c.epoch > before[-1].epoch))
        first = next(after, None)
        return None if first is None else (at - before[-1].at, first - at)


def state_log(service: Service, source: str) -> StateLog:
    name = service.topic(source)
    topic = f"{name}.{service.env['MILLRACE_APP_ID']}.state"
    log, newest = StateLog(), defaultdict[int, int](lambda: -1)
    for record in read(service.kafka, topic):
        partition, at = record.partition, record.timestamp / 1000
        if record.key == FENCE:
            newest[partition] = max(newest[partition], record.offset)
            log.fences.append((partition, record.offset, at))
        elif record.key == POSITION:
            epoch, value = unpack(record)
            counts = epoch >= newest[partition]
            offset = Position.decode(value).offsets.get(name, 0)
            log.commits.append(Commit(partition, epoch, at, record.offset, offset, counts))
    return log
