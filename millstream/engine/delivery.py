"""Delivered: a partition's outputs go to the producer, and are confirmed by Kafka."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer

from millstream.engine.counters import BatchStatistics
from millstream.engine.outputs import Outputs, Updates
from millstream.engine.tracing import Trace
from millstream.kafka.partitioner import partition_for
from millstream.kafka.producer import CoalescingProducer, Record, Target, append_each
from millstream.serde.json import encode


class Delivery:
    """Sends what a partition's agent sends.

    Args:
        topic: the source topic.
        number: the partition's number.
        copartitioned: names of the output topics whose records stay in the partition of their source.
        producer: returns the producer of single batches.
        coalescing: the producer that sends what several partitions have at the same time.
    """

    def __init__(
        self,
        topic: str,
        number: int,
        copartitioned: Collection[str],
        producer: Callable[[], AIOKafkaProducer],
        coalescing: CoalescingProducer,
    ) -> None:
        self._number = number
        self._origin_prefix = f"{topic}/{number}/".encode()
        self._copartitioned = copartitioned
        self._producer = producer
        self._coalescing = coalescing

    async def send(
        self, outputs: Mapping[str, Outputs], statistics: BatchStatistics
    ) -> list[asyncio.Future[Any]]:
        """Hand a batch's outputs to the producer; the futures are their deliveries."""
        targets = await self._targets(outputs, statistics, statistics.traces)
        return await append_each(self._producer(), targets)

    async def send_updates(self, updates: Updates, statistics: BatchStatistics) -> None:
        """Send a commit's updates, count them, and wait until they are delivered."""
        by_topic: dict[str, Outputs] = defaultdict(Outputs)
        traces: dict[int, Trace] = {}
        for (topic, _), (key, value, origin, trace) in updates.items():
            if trace is not None:
                traces[origin] = trace
            outputs = by_topic[topic]
            outputs.keys.append(key)
            outputs.values.append(encode(value))
            outputs.origins.append(origin)
        await self._coalescing.send(await self._targets(by_topic, statistics, traces))

    async def _targets(
        self, by_topic: Mapping[str, Outputs], statistics: BatchStatistics, traces: Mapping[int, Trace]
    ) -> dict[Target, Iterable[Record]]:
        """Count outputs, and return the records of each partition that they go to."""
        targets: dict[Target, Iterable[Record]] = {}
        for topic, outputs in by_topic.items():
            records = outputs.records(self._origin_prefix, traces)
            statistics.outputs[topic] = len(outputs.keys)
            if topic in self._copartitioned:
                targets[topic, self._number] = records
                continue
            count = len(await self._producer().partitions_for(topic))
            by_partition: dict[Target, list[Record]] = defaultdict(list)
            for record in records:
                key = record[0]
                by_partition[topic, 0 if key is None else partition_for(key, count)].append(record)
            targets |= by_partition
        return targets
