"""Producing in bulk: whole record batches, built here and confirmed by Kafka."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.codec import zstd_encode
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport.drivers import aiokafka as driver

Headers = list[tuple[str, bytes]]
Record = tuple[bytes | None, bytes | None, Headers]

# Twice as fast as level 3, and no larger on our records. aiokafka has no setting for it.
zstd_encode.__defaults__ = (1,)

# Larger batches compress better and cost fewer round trips; a broker takes 1 MB unless told otherwise.
BATCH_BYTES = 900_000


class Producer(driver.Producer):
    """Faust's producer, idempotent.

    Faust's own `flush` gives up without a word, and its sends only log an error: what must not be lost
    goes through `append`.
    """

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}


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
        ValueError: the records do not fit into one batch, and `whole` was asked for.
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


async def _send(
    producer: AIOKafkaProducer, batch: Any, count: int, topic: str, partition: int
) -> asyncio.Future[Any]:
    batch._relative_offset = count
    batch.close()
    return await producer.send_batch(batch, topic, partition=partition)  # type: ignore[no-any-return] # aiokafka has no types


# Bounded: there may be any number of keys. murmur2 takes microseconds, the cache a tenth of one.
@lru_cache(maxsize=1 << 17)
def partition_for(key: bytes, count: int) -> int:
    """Return the partition of a key, as Kafka's own clients choose it."""
    return int((murmur2(key) & 0x7FFFFFFF) % count)
