"""Standbys: warm copies of state that other workers own."""

import asyncio
import logging
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiokafka.structs import TopicPartition
from faust.types import TP

from app.engine.fetch import EARLIEST, LATEST, Reader, connect
from app.engine.peers import now
from app.engine.source import Replica
from app.engine.tasks import cancel

if TYPE_CHECKING:
    from app.engine.engine import Engine

logger = logging.getLogger(__name__)

WAIT_MS = 500
RETRY_SECONDS = 1.0


class Standby:
    """One copy.

    Attributes:
        replica: its rows.
        end: end of its log, as of the last fetch; None before the first.
        current: when it was last known to hold all of its log, seconds since the epoch.
    """

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.end: int | None = None
        self.current = 0.0
        self._held_all = -math.inf

    def hold_all(self, asked: float) -> None:
        """Note that it holds all that its log held at a time, by `app.engine.peers.now`."""
        self._held_all = asked
        self.current = time.time() - (now() - asked)

    def hold_nothing(self) -> None:
        """Note that it begins anew."""
        self.current, self._held_all = 0.0, -math.inf

    @property
    def staleness(self) -> float:
        """Seconds since it held all of its log; infinite if it never did."""
        return now() - self._held_all

    @property
    def lag(self) -> int | None:
        """Records of the log that it does not hold yet; None if that is not known."""
        return None if self.end is None else max(0, self.end - self.replica.next)


class Standbys:
    """The copies that this worker keeps, all fed by one task."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.copies: dict[TP, Standby] = {}

    def follow(self, wanted: Iterable[TP]) -> None:
        """Keep copies of these partitions, and of no others."""
        wanted = set(wanted)
        for tp in self.copies.keys() - wanted:
            self.copies.pop(tp).replica.close()
        for tp in sorted(wanted - self.copies.keys()):
            source = self._engine.sources[tp.topic]
            self.copies[tp] = Standby(self._engine.wiring.open_replica(source, tp.partition))
        self._changed.set()
        if self.copies and self._task is None:
            self._task = asyncio.create_task(self._run(), name="standbys")

    async def close(self) -> None:
        """Stop, and release the copies; they stay on disk."""
        if self._task is not None:
            await cancel(self._task)
            self._task = None
        self.follow(())

    async def _run(self) -> None:
        while True:
            try:
                await self._feed()
            except Exception as exc:  # Kafka is away, or a log was made anew: begin again
                logger.warning("standbys: %r; trying again", exc)
                await asyncio.sleep(RETRY_SECONDS)

    async def _feed(self) -> None:
        engine = self._engine
        topics = {engine.wiring.log_topic(source) for source in engine.sources.values()}
        fitted: dict[TP, Standby] = {}
        async with connect(engine.bootstrap, topics) as reader:
            while True:
                while not self.copies:
                    self._changed.clear()
                    await self._changed.wait()
                for tp, standby in list(self.copies.items()):
                    if fitted.get(tp) is not standby:
                        await self._fit(reader, tp, standby)
                        fitted[tp] = standby
                logs = {self._log(tp): (tp, standby) for tp, standby in self.copies.items()}
                offsets = {log: standby.replica.next for log, (_, standby) in logs.items()}
                asked = now()
                for log, fetched in (await reader.fetch(offsets, wait_ms=WAIT_MS)).items():
                    tp, standby = logs[log]
                    for part, following in engine.wiring.stretches(fetched.records, fetched.next):
                        if self.copies.get(tp) is not standby:  # closed in the meantime
                            break
                        standby.replica.apply(part, following)
                        await asyncio.sleep(0)
                    else:
                        standby.end = fetched.end
                        if fetched.next >= fetched.end:
                            standby.hold_all(asked)

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
        engine = self._engine
        return TopicPartition(engine.wiring.log_topic(engine.sources[tp.topic]), tp.partition)
