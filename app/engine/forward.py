"""Telling the topics that our agents fill how far their sources have come; see `app.engine.upstream`."""

import asyncio
import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from faust.types import TP

from app.engine.partition import Partition
from app.engine.producer import Record, append
from app.engine.tasks import cancel
from app.engine.upstream import NO_EVENTS, mark

if TYPE_CHECKING:
    from app.engine.engine import Engine

logger = logging.getLogger(__name__)

# Windows over several partitions close so much later.
FORWARD_SECONDS = 0.25


class Forward:
    """Tells the watermarks of the partitions that this worker owns.

    A watermark is told when it is committed: what was sent for events up to there has been delivered. After
    a crash it is told again.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        # What was told, and when.
        self._told: dict[Partition, tuple[float, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._task is None and any(source.behind for source in self._engine.sources.values()):
            self._task = asyncio.create_task(self._run(), name="forward")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await cancel(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FORWARD_SECONDS)
            try:
                await self.tell()
            except Exception as exc:  # whatever it is, the next time tells all that has not been told
                logger.warning("watermarks could not be told: %r; trying again", exc)

    async def tell(self) -> bool:
        """Tell what has moved; return whether anything has."""
        engine = self._engine
        now = engine.clock()
        moved = {
            partition: (watermark, now)
            for partition in engine.partitions.values()
            for watermark in [partition.reached]
            if watermark is not None and self._is_news(partition, watermark, now)
        }
        marks: dict[TP, list[Record]] = defaultdict(list)
        for source in engine.sources.values():
            for partition, (watermark, _) in moved.items():
                if source.behind == partition.source.topic:
                    for tp, of in await self._told_to(source.topic, partition):
                        marks[tp].append(mark(partition.name, watermark, of))
        sent = []
        for tp, records in marks.items():
            sent += await append(engine.producer, tp.topic, tp.partition, records)
        await asyncio.gather(*sent)
        live = set(engine.partitions.values())
        self._told = {p: told for p, told in (self._told | moved).items() if p in live}
        return bool(sent)

    def _is_news(self, partition: Partition, watermark: float, now: float) -> bool:
        told, at = self._told.get(partition, (None, 0.0))
        again = watermark == NO_EVENTS and now >= at + (partition.source.idle or 0.0)
        return watermark != told or again

    async def _told_to(self, topic: str, partition: Partition) -> list[tuple[TP, int]]:
        """Return the partitions of a topic that one tells its watermark, and how many tell each of them."""
        if topic in self._engine.copartitioned:
            return [(TP(topic, partition.number), 1)]
        of = len(await self._engine.producer.partitions_for(partition.source.topic))
        return [(TP(topic, number), of) for number in await self._engine.producer.partitions_for(topic)]
