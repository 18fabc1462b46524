"""The engine: which topics are read in batches, and which of their partitions are ours."""

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import Any, cast

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from app.engine.partition import Partition
from app.engine.source import Source, Wiring

logger = logging.getLogger(__name__)

# A rebalance waits for all workers: what is under way gets this long, then it is processed again.
DRAIN_SECONDS = 5.0
EXIT_FAILED = 3


class Engine:
    """Runs the batch agents of a Faust app.

    Args:
        app: the Faust app, whose transport is `app.engine.transport.Transport`.
        wiring: what the engine needs from outside.
        chunk_records: the largest number of records in a batch.

    Attributes:
        sources: the topics that are read in batches, by name.
        copartitioned: names of the output topics whose records stay in their source's partition.
        partitions: the partitions that this worker owns.
        room: set when a partition may be fetched from again.
        joined: whether the consumer group has given this worker its partitions, be it none.
    """

    def __init__(self, app: faust.App, wiring: Wiring, *, chunk_records: int) -> None:
        self.app = app
        self.wiring = wiring
        self.chunk_records = chunk_records
        self.sources: dict[str, Source] = {}
        self.copartitioned: set[str] = set()
        self.partitions: dict[TP, Partition] = {}
        self.room = asyncio.Event()
        self.joined = False

    @property
    def producer(self) -> AIOKafkaProducer:
        """The app's producer, below Faust's."""
        return self.app.producer._ensure_producer()

    async def assign(self, assigned: Iterable[TP]) -> None:
        """Take partitions over: restore each, then let it work."""
        self.joined = True
        for tp in assigned:
            if tp.topic in self.sources and tp not in self.partitions:
                partition = Partition(self, self.sources[tp.topic], tp.partition, self.chunk_records)
                self.partitions[tp] = partition
                partition.start()

    async def drain(self) -> None:
        """Accept nothing more, and wait a bounded time for what is under way."""
        self.joined = False
        await asyncio.gather(*(partition.drain(DRAIN_SECONDS) for partition in self.partitions.values()))

    async def release(self) -> None:
        """Give all partitions back."""
        partitions = list(self.partitions.values())
        self.partitions.clear()
        await asyncio.gather(*(partition.close() for partition in partitions))

    async def rewind(self, topic: str, number: int, offset: int | None) -> tuple[int, int]:
        """Fetch a partition from an offset on (None: from where its group has committed).

        Returns:
            The offset, and the tag of the records that are fetched from now on.
        """
        result: tuple[int, int] = await self.app.consumer.rewind(TP(topic, number), offset)
        return result

    def full(self, tp: TP) -> bool:
        """Whether a partition should not be fetched from for now."""
        if tp.topic not in self.sources:
            return False
        partition = self.partitions.get(tp)
        return partition is None or partition.full

    def committed(self, tp: TP) -> int | None:
        """Return the offset that may be committed for a partition."""
        partition = self.partitions.get(tp)
        return None if partition is None else partition.committed

    async def stop_worker(self, why: str) -> None:
        """End the process: nothing is lost, since what is not in the state is fetched again."""
        logger.critical("worker stops: %s", why)
        await self.app.crash(RuntimeError(why))
        await asyncio.sleep(10)
        os._exit(EXIT_FAILED)


def engine_of(app: Any) -> Engine:
    """Return the engine of an app that has one."""
    return cast("Engine", app.engine)
