"""Standbys: warm copies of state that other workers own."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable

from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.aio import cancel
from millstream.kafka.fetch import EARLIEST, LATEST, Reader, connect
from millstream.kafka.group import now
from millstream.state.errors import UnknownFormatError
from millstream.state.replica import Replica, chunked

logger = logging.getLogger(__name__)

WAIT_MS = 500
RETRY_SECONDS = 1.0


class Standby:
    """One warm copy.

    Attributes:
        replica: the rows of the copy.
        end: end offset of its log, as of the last fetch; None before the first.
        current: when the copy last held the complete log, seconds since the epoch.
    """

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.end: int | None = None
        self.current = 0.0
        self._held_all = -math.inf

    def hold_all(self, requested_at: float) -> None:
        """Note that the copy has all that its log had at a time, by `millstream.kafka.group.now`."""
        self._held_all = requested_at
        self.current = time.time() - (now() - requested_at)

    def hold_nothing(self) -> None:
        """Note that the copy starts over."""
        self.current, self._held_all = 0.0, -math.inf

    @property
    def staleness(self) -> float:
        """Seconds since the copy held the complete log; infinite if it never did."""
        return now() - self._held_all

    @property
    def lag(self) -> int | None:
        """Number of log records that the copy does not hold yet; None if it is unknown."""
        return None if self.end is None else max(0, self.end - self.replica.next)


class Standbys:
    """The copies that this worker keeps. One task feeds all of them.

    Args:
        bootstrap: returns addresses of Kafka, host:port with commas.
        topics: names of the source topics.
        log_topic: returns the name of a source topic's state log.
        open_replica: opens the copy of a source partition.
        stop_worker: stops the process.

    Attributes:
        copies: the copies, by source partition.
    """

    def __init__(
        self,
        bootstrap: Callable[[], str],
        topics: Collection[str],
        log_topic: Callable[[str], str],
        open_replica: Callable[[TP], Replica],
        stop_worker: Callable[[str], Awaitable[None]],
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._log_topic = log_topic
        self._open_replica = open_replica
        self._stop_worker = stop_worker
        self._refused: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.copies: dict[TP, Standby] = {}

    def follow(self, wanted: Iterable[TP]) -> None:
        """Keep copies of these partitions only."""
        wanted = set(wanted)
        for tp in self.copies.keys() - wanted:
            self.copies.pop(tp).replica.close()
        for tp in sorted(wanted - self.copies.keys()):
            try:
                self.copies[tp] = Standby(self._open_replica(tp))
            except UnknownFormatError as exc:  # called by the consumer, so the task stops the worker
                self._refused = f"{tp.topic}/{tp.partition}, as a standby: {exc}"
        self._changed.set()
        if (self.copies or self._refused) and self._task is None:
            self._task = asyncio.create_task(self._run(), name="standbys")

    async def close(self) -> None:
        """Stop, and close the copies; they are kept on disk."""
        if self._task is not None:
            await cancel(self._task)
            self._task = None
        self.follow(())

    async def _run(self) -> None:
        while True:
            try:
                if self._refused is not None:
                    await self._stop_worker(self._refused)
                await self._feed()
            except Exception as exc:  # Kafka is unavailable, or a log was created again: retry
                logger.warning("standbys: %r; trying again", exc)
                await asyncio.sleep(RETRY_SECONDS)

    async def _feed(self) -> None:
        topics = set(map(self._log_topic, self._topics))
        fitted: dict[TP, Standby] = {}
        async with connect(self._bootstrap(), topics) as reader:
            while True:
                while not self.copies and self._refused is None:
                    self._changed.clear()
                    await self._changed.wait()
                if self._refused is not None:
                    return
                for tp, standby in list(self.copies.items()):
                    if fitted.get(tp) is not standby:
                        await self._fit(reader, tp, standby)
                        fitted[tp] = standby
                logs = {self._log(tp): (tp, standby) for tp, standby in self.copies.items()}
                offsets = {log: standby.replica.next for log, (_, standby) in logs.items()}
                requested_at = now()
                for log, fetched in (await reader.fetch(offsets, wait_ms=WAIT_MS)).items():
                    tp, standby = logs[log]
                    for part, following in chunked(fetched.records, fetched.next):
                        if self.copies.get(tp) is not standby:  # closed in the meantime
                            break
                        try:
                            standby.replica.apply(part, following)
                        except UnknownFormatError as exc:
                            await self._stop_worker(f"{tp.topic}/{tp.partition}, as a standby: {exc}")
                        await asyncio.sleep(0)
                    else:
                        standby.end = fetched.end
                        if fetched.next >= fetched.end:
                            standby.hold_all(requested_at)

    async def _fit(self, reader: Reader, tp: TP, standby: Standby) -> None:
        log = self._log(tp)
        start = (await reader.offsets([log], EARLIEST))[log]
        end = (await reader.offsets([log], LATEST))[log]
        if self.copies.get(tp) is standby:
            before = standby.replica.next
            standby.replica.fit(start, end)
            if standby.replica.next < before:  # its rows were set aside
                standby.hold_nothing()
            standby.replica.next = max(standby.replica.next, start)

    def _log(self, tp: TP) -> TopicPartition:
        return TopicPartition(self._log_topic(tp.topic), tp.partition)
