"""A state log as it stands in Kafka: who committed what and when, read without the engine's help."""

import asyncio
import threading
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field

from aiokafka.structs import ConsumerRecord

from millstream.kafka.reading import consumer_of
from millstream.state.log import FENCE, POSITION, Position, unpack
from tests.framework.chaos.kafka import Group, read
from tests.framework.service import Service


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
    """A state log's commits, and its fences as (partition, offset, epoch seconds), in the log's order.

    Args:
        source: full name of the source topic.
    """

    source: str
    commits: list[Commit] = field(default_factory=list)
    fences: list[tuple[int, int, float]] = field(default_factory=list)
    _newest: dict[int, int] = field(default_factory=dict)

    def see(self, record: ConsumerRecord) -> None:
        """Take the next record of a partition in."""
        partition, at, newest = record.partition, record.timestamp / 1000, self._newest
        if record.key == FENCE:
            newest[partition] = max(newest.get(partition, -1), record.offset)
            self.fences.append((partition, record.offset, at))
        elif record.key == POSITION:
            epoch, value = unpack(record)
            counts = epoch >= newest.get(partition, -1)
            offset = Position.decode(value).offsets.get(self.source, 0)
            self.commits.append(Commit(partition, epoch, at, record.offset, offset, counts))

    @property
    def foreign(self) -> int:
        """Number of commits of workers that were the owner no more."""
        return sum(not commit.counts for commit in self.commits)

    def skipped(self, group: Group) -> int:
        """Return how many events the owners' positions saved from being processed again.

        At each fence: how far the state was ahead of the offset that the group had committed.
        """
        committed: dict[int, list[tuple[float, int]]] = defaultdict(list)
        for at, topic, partition, offset in group.commits:
            if topic == self.source:
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


def topic_of(service: Service, source: str) -> str:
    """Return the state log's topic."""
    return f"{service.topic(source)}.{service.env['MILLSTREAM_APP_ID']}.state"


def state_log(service: Service, source: str) -> StateLog:
    """Read a state log as it is now."""
    log = StateLog(service.topic(source))
    for record in read(service.kafka, topic_of(service, source)):
        log.see(record)
    return log


class Recorder:
    """Reads a state log while it is written, before Kafka compacts it."""

    def __init__(self, service: Service, source: str) -> None:
        self.log = StateLog(service.topic(source))
        self._end = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._read(service.kafka, topic_of(service, source))), daemon=True
        )
        self._thread.start()

    async def _read(self, kafka: str, topic: str) -> None:
        async with consumer_of(kafka, topic) as (consumer, partitions):
            await consumer.seek_to_beginning(*partitions)
            while not self._end.is_set():
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        self.log.see(record)

    def stop(self) -> StateLog:
        """Return what was read."""
        self._end.set()
        self._thread.join(10)
        return self.log
