"""Reading topics from outside of the worker, for commands and tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from millstream.kafka.topics import partition_count


@asynccontextmanager
async def consumer_of(
    bootstrap: str, topic: str, *, only: int | None = None
) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
    """Open a consumer of all partitions of a topic, or only one, without a group.

    Raises:
        TopicError: there is no such topic, or no Kafka.
    """
    count = await partition_count(bootstrap, topic)
    partitions = [TopicPartition(topic, n) for n in range(count) if only in (None, n)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    consumer.assign(partitions)
    await consumer.start()
    try:
        yield consumer, partitions
    finally:
        await consumer.stop()


async def records(bootstrap: str, topic: str, *, last: int | None = None) -> AsyncIterator[ConsumerRecord]:
    """Yield the records that a topic holds now, partition by partition as they come.

    Args:
        bootstrap: addresses of Kafka, host:port with commas.
        topic: the topic.
        last: of each partition, only the last so many.

    Raises:
        TopicError: there is no such topic, or no Kafka.
    """
    async with consumer_of(bootstrap, topic) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.beginning_offsets(partitions)
        for partition in partitions:
            start = starts[partition] if last is None else max(starts[partition], ends[partition] - last)
            consumer.seek(partition, start)
        left = {p for p in partitions if await consumer.position(p) < ends[p]}
        while left:
            for partition, fetched in (await consumer.getmany(*left, timeout_ms=1000)).items():
                for record in fetched:
                    if record.offset < ends[partition]:
                        yield record
            left = {p for p in left if await consumer.position(p) < ends[p]}


async def record_at(bootstrap: str, topic: str, partition: int, offset: int) -> ConsumerRecord | None:
    """Return one record; None if it is not there (any more).

    Raises:
        TopicError: there is no such topic, or no Kafka.
    """
    # A consumer of nothing is stopped before it has begun, of which aiokafka makes a CancelledError.
    if partition >= await partition_count(bootstrap, topic):
        return None
    async with consumer_of(bootstrap, topic, only=partition) as (consumer, (tp,)):
        start, end = await consumer.beginning_offsets([tp]), await consumer.end_offsets([tp])
        if not start[tp] <= offset < end[tp]:
            return None
        consumer.seek(tp, offset)
        found = await consumer.getone(tp)
        return found if found.offset == offset else None


async def follow(bootstrap: str, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Yield the records that come from now on, for ever."""
    async with consumer_of(bootstrap, topic) as (consumer, partitions):
        await consumer.seek_to_end(*partitions)
        async for record in consumer:
            yield record
