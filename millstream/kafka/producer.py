"""Producing in bulk: whole record batches, built here and confirmed by Kafka."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport.drivers import aiokafka as driver

Headers = list[tuple[str, bytes]]
Record = tuple[bytes | None, bytes | None, Headers]
Target = tuple[str, int]
"""Topic and partition."""

# Larger batches compress better and cost fewer round trips; a broker takes 1 MB by default.
BATCH_BYTES = 900_000


class Producer(driver.Producer):
    """Faust's producer, idempotent.

    Faust's own `flush` gives up silently, and its sends only log an error. Records that must not be lost go
    through `append`.
    """

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    def _new_producer(self, transactional_id: str | None = None) -> AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        producer._sender._in_flight = _Nobody()
        return producer


class _Nobody(set[int]):
    """The set of brokers that aiokafka waits for before it sends them more: always empty.

    Each partition has one batch in flight, which keeps its order. Other partitions need not wait for it.
    """

    def add(self, node: int) -> None:
        """Ignore a request."""

    def remove(self, node: int) -> None:
        """Ignore its end."""


async def append(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Iterable[Record],
    *,
    whole: bool = False,
) -> list[asyncio.Future[Any]]:
    """Send records to one partition, in order.

    Args:
        producer: who sends.
        topic: name of the topic.
        partition: its partition.
        records: key, value and headers of each; a key or a value may be None, not both.
        whole: all in one batch, or nothing.

    Returns:
        A future for each batch; its result has the batch's first `offset`. It must be awaited.

    Raises:
        ValueError: the records do not fit into one batch, although `whole` is set.
    """
    now = int(time.time() * 1000)
    sent = []
    accumulator = producer._message_accumulator
    size = accumulator._batch_size if whole else BATCH_BYTES
    batch, count = BatchBuilder(size, accumulator._compression_type), 0
    add = batch._builder.append  # below aiokafka's wrapper, which takes as long again
    for key, value, headers in records:
        if add(count, now, key, value, headers) is None:
            if whole:
                raise ValueError(f"{topic}/{partition}: records do not fit into one batch")
            sent.append(await _send(producer, batch, count, topic, partition))
            batch, count = BatchBuilder(size, accumulator._compression_type), 0
            add = batch._builder.append
            add(count, now, key, value, headers)  # a batch takes its first record whatever its size
        count += 1
    if count:
        sent.append(await _send(producer, batch, count, topic, partition))
    return sent


async def append_each(
    producer: AIOKafkaProducer, records: Mapping[Target, Iterable[Record]]
) -> list[asyncio.Future[Any]]:
    """Send records, each target's in order; see `append`."""
    sent = []
    for (topic, partition), part in records.items():
        sent += await append(producer, topic, partition, part)
    return sent


def forget(deliveries: Iterable[asyncio.Future[Any]]) -> None:
    """Let deliveries fail without asyncio's warning about exceptions that nobody retrieved."""
    for delivery in deliveries:
        delivery.add_done_callback(lambda done: done.cancelled() or done.exception())


class CoalescingProducer:
    """Merges what several partitions send to the same topics at the same time into common batches.

    A small batch costs as much as hundreds of its records.

    Args:
        producer: returns who sends.
    """

    def __init__(self, producer: Callable[[], AIOKafkaProducer]) -> None:
        self._producer = producer
        self._records: dict[Target, list[Record]] = defaultdict(list)
        self._sending: asyncio.Task[None] | None = None

    async def send(self, records: Mapping[Target, Iterable[Record]]) -> None:
        """Send records, each target's in order, and wait until Kafka has confirmed them.

        Raises:
            Exception: some of them, or of those that they were sent with, were not confirmed.
        """
        for target, more in records.items():
            self._records[target] += more
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
            forget([self._sending])  # nobody may wait any more when it fails
        await asyncio.shield(self._sending)

    async def _send(self) -> None:
        await asyncio.sleep(0)  # other tasks that are ready may add records
        records, self._records, self._sending = self._records, defaultdict(list), None
        await asyncio.gather(*await append_each(self._producer(), records))


async def _send(
    producer: AIOKafkaProducer, batch: Any, count: int, topic: str, partition: int
) -> asyncio.Future[Any]:
    batch._relative_offset = count
    batch.close()
    return await producer.send_batch(batch, topic, partition=partition)  # type: ignore[no-any-return] # aiokafka has no types
