"""Forwarding watermarks to the topics that our agents fill; see `millstream.engine.upstream_watermarks`."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Protocol

from aiokafka import AIOKafkaProducer
from faust.types import TP

from millstream.aio import cancel
from millstream.engine.source import Source
from millstream.engine.topology import Topology
from millstream.engine.upstream_watermarks import NO_EVENTS, watermark_marker
from millstream.kafka.producer import Record, append

logger = logging.getLogger(__name__)

# Windows over several partitions close so much later.
FORWARD_SECONDS = 0.25


class Upstream(Protocol):
    """A partition that has a watermark."""

    source: Source
    number: int

    @property
    def name(self) -> str:
        """Topic and number."""
        ...

    @property
    def reached(self) -> float | None:
        """The committed watermark; `NO_EVENTS` after a time without any; None if there is none to report."""
        ...


class WatermarkForwarder:
    """Forwards the watermarks of the partitions that this worker owns.

    A watermark is forwarded when it is committed: what was sent for events up to there has been delivered.
    After a crash it is forwarded again.

    Args:
        topology: which topic is behind which.
        partitions: the partitions that this worker owns.
        producer: returns who sends.
        clock: returns the time, seconds since the epoch.
    """

    def __init__(
        self,
        topology: Topology,
        partitions: Mapping[TP, Upstream],
        producer: Callable[[], AIOKafkaProducer],
        clock: Callable[[], float],
    ) -> None:
        self._topology = topology
        self._partitions = partitions
        self._producer = producer
        self._clock = clock
        # What was forwarded last, and when.
        self._forwarded: dict[Upstream, tuple[float, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._task is None and any(source.behind for source in self._topology.sources.values()):
            self._task = asyncio.create_task(self._run(), name="watermark forwarder")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await cancel(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FORWARD_SECONDS)
            try:
                await self.forward()
            except Exception as exc:  # whatever it is, the next time forwards all that was not
                logger.warning("watermarks could not be forwarded: %r; trying again", exc)

    async def forward(self) -> bool:
        """Forward what has moved; return whether anything has."""
        now = self._clock()
        moved = {
            partition: (watermark, now)
            for partition in self._partitions.values()
            for watermark in [partition.reached]
            if watermark is not None and self._is_news(partition, watermark, now)
        }
        markers: dict[TP, list[Record]] = defaultdict(list)
        for source in self._topology.sources.values():
            for partition, (watermark, _) in moved.items():
                if source.behind == partition.source.topic:
                    for tp, of in await self._targets(source.topic, partition):
                        markers[tp].append(watermark_marker(partition.name, watermark, of))
        sent = []
        for tp, records in markers.items():
            sent += await append(self._producer(), tp.topic, tp.partition, records)
        await asyncio.gather(*sent)
        live = set(self._partitions.values())
        self._forwarded = {p: last for p, last in (self._forwarded | moved).items() if p in live}
        return bool(sent)

    def _is_news(self, partition: Upstream, watermark: float, now: float) -> bool:
        last, at = self._forwarded.get(partition, (None, 0.0))
        again = watermark == NO_EVENTS and now >= at + (partition.source.idle or 0.0)
        return watermark != last or again

    async def _targets(self, topic: str, partition: Upstream) -> list[tuple[TP, int]]:
        """Return the partitions of a topic that get a partition's markers, and how many send to each."""
        if topic in self._topology.copartitioned:
            return [(TP(topic, partition.number), 1)]
        producer = self._producer()
        of = len(await producer.partitions_for(partition.source.topic))
        return [(TP(topic, number), of) for number in await producer.partitions_for(topic)]
