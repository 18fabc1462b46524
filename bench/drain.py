"""Watch a worker drain its topic."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from app.admin import partition_count
from bench.worker import BenchError, Worker

POLL_SECONDS = 0.2
# Without any progress for so long there is no result; a start is within it.
STALL_SECONDS = 90.0

Gauge = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Drain:
    """From the first progress that was seen to the last.

    Attributes:
        share: part of all records that lies between the two, 0 to 1.
        seconds: time between the two.
        cpu_seconds: CPU time of the worker meanwhile.
    """

    share: float
    seconds: float
    cpu_seconds: float


async def drain(worker: Worker, gauge: Gauge, total: int) -> Drain:
    """Wait until a gauge has come to `total`.

    Raises:
        BenchError: the worker ended, or stands still.
    """
    began: tuple[int, float, float] | None = None
    last, moved = 0, time.monotonic()
    while last < total:
        await asyncio.sleep(POLL_SECONDS)
        done = await gauge()
        now, cpu = time.monotonic(), worker.cpu_seconds()
        if done > last:
            last, moved = done, now
            began = began or (done, now, cpu)
        if now - moved > STALL_SECONDS:
            raise BenchError(
                f"{last:,} of {total:,} records for {STALL_SECONDS:.0f} s:\n{worker.last_words()}"
            )
    assert began is not None
    first, start, cpu_start = began
    return Drain((total - first) / total, now - start, cpu - cpu_start)


@asynccontextmanager
async def gauges(kafka: str, group: str, source: str, output: str) -> AsyncIterator[tuple[Gauge, Gauge]]:
    """Two ways to see how far a worker is: what its group has committed, and what it has sent.

    Args:
        kafka: addresses, host:port with commas.
        group: the worker's consumer group.
        source: topic whose committed offsets the first gauge sums up.
        output: topic whose records the second one counts.
    """
    count = await partition_count(kafka, source)
    sources = [TopicPartition(source, number) for number in range(count)]
    outputs = [TopicPartition(output, number) for number in range(count)]
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)

    async def committed() -> int:
        return sum([await consumer.committed(partition) or 0 for partition in sources])

    async def sent() -> int:
        return sum((await consumer.end_offsets(outputs)).values())

    def bounded(ask: Gauge) -> Gauge:
        async def gauge() -> int:
            async with asyncio.timeout(STALL_SECONDS):
                return await ask()

        return gauge

    await consumer.start()
    try:
        yield bounded(committed), bounded(sent)
    finally:
        await consumer.stop()
