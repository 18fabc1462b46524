"""An ordinary consumer of the enriched events, which notes when each came. For a process of its own."""

import asyncio
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

POLL_SECONDS = 0.1
STALL_SECONDS = 60.0


@dataclass
class Arrivals:
    """What came; one index is one record.

    Attributes:
        partitions: of the raw events that the records come from.
        offsets: theirs.
        times: when the records came, nanoseconds of the monotonic clock.
        cpu_seconds: CPU time of the reader.
    """

    partitions: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[int]" = field(default_factory=lambda: array("q"))
    cpu_seconds: float = 0.0


def read(kafka: str, topic: str, starts: Mapping[int, int], count: int) -> Arrivals:
    """Read until a number of records has come, or none for a minute.

    Each partition has a consumer of its own: in one that has several, a partition's new records wait until
    the fetch of the others is answered.

    Args:
        kafka: addresses, host:port with commas.
        topic: the topic.
        starts: offset to begin at, by partition.
        count: number of records.
    """
    return uvloop.run(_read(kafka, topic, starts, count))


async def _read(kafka: str, topic: str, starts: Mapping[int, int], count: int) -> Arrivals:
    arrivals, cpu = Arrivals(), time.process_time()
    tasks = [
        asyncio.create_task(_follow(kafka, TopicPartition(topic, number), offset, arrivals))
        for number, offset in starts.items()
    ]
    seen, moved = 0, time.monotonic()
    try:
        while len(arrivals.times) < count and time.monotonic() - moved < STALL_SECONDS:
            done, _ = await asyncio.wait(tasks, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:  # only a failure ends one
                task.result()
            if len(arrivals.times) > seen:
                seen, moved = len(arrivals.times), time.monotonic()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    arrivals.cpu_seconds = time.process_time() - cpu
    return arrivals


async def _follow(kafka: str, partition: TopicPartition, offset: int, arrivals: Arrivals) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    consumer.assign([partition])
    await consumer.start()
    try:
        consumer.seek(partition, offset)
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                now = time.monotonic_ns()
                for record in records:
                    _, number, origin = dict(record.headers)["origin"].split(b"/")
                    arrivals.partitions.append(int(number))
                    arrivals.offsets.append(int(origin))
                    arrivals.times.append(now)
    finally:
        await consumer.stop()
