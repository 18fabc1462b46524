"""Watch a worker drain its topic."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench.worker import BenchError, Worker
from bench.workload import Workload
from millstream.kafka.topics import partition_count

POLL_SECONDS = 0.1
# Without any progress for so long there is no result; a start is within it.
STALL_SECONDS = 90.0
# Longer than any contestant waits before it tells a count.
QUIET_SECONDS = 3.0

Gauge = Callable[[], Awaitable[int]]


class Look(NamedTuple):
    """What was seen at a moment.

    Attributes:
        done: records so far.
        at: seconds of a clock.
        cpu: CPU-seconds of the worker so far.
    """

    done: int
    at: float
    cpu: float


@dataclass(frozen=True)
class Drain:
    """Three looks at a drain: at the first progress, at half of the records or more, at the last but one.

    What is committed or sent is behind what has been worked on, at the first of them as at the last; at the
    very end it is not, and the difference would count as records without any work.
    """

    first: Look
    middle: Look
    last: Look
    total: int

    @classmethod
    def of(cls, looks: Sequence[Look]) -> "Drain":
        """Take the three of all looks that found progress, the end among them.

        Raises:
            BenchError: there is no work between the first and the last of them.
        """
        first, last, total = looks[0], looks[-2:][0], looks[-1].done
        if last.cpu <= first.cpu:
            raise BenchError(f"{total:,} records are too few to be looked at: raise --events (--slow-events)")
        middle = next(look for look in looks if look.done >= total / 2)
        return cls(first, middle, last, total)


async def drain(worker: Worker, gauge: Gauge, total: int) -> Drain:
    """Wait until a gauge has come to `total`.

    Raises:
        BenchError: the worker ended, stands still, or was done too soon.
    """
    looks: list[Look] = []
    last = Look(0, time.monotonic(), 0)
    while last.done < total:
        await asyncio.sleep(POLL_SECONDS)
        done = await gauge()
        now, cpu = time.monotonic(), worker.cpu_seconds()
        if done > last.done:
            last = Look(done, now, cpu)
            looks.append(last)
        if now - last.at > STALL_SECONDS:
            raise BenchError(
                f"{last.done:,} of {total:,} records for {STALL_SECONDS:.0f} s:\n{worker.last_words()}"
            )
    return Drain.of(looks)


async def settle(worker: Worker, ends: Gauge) -> None:
    """Wait until nothing more comes out, for `QUIET_SECONDS`.

    Raises:
        BenchError: the worker ended, or sends without an end.
    """
    last, moved, began = await ends(), time.monotonic(), time.monotonic()
    while (now := time.monotonic()) - moved < QUIET_SECONDS:
        await asyncio.sleep(POLL_SECONDS)
        worker.check()
        if (more := await ends()) != last:
            last, moved = more, now
        if now - began > STALL_SECONDS:
            raise BenchError(f"outputs do not end, {STALL_SECONDS:.0f} s after the last event")


class Gauges(NamedTuple):
    """Ways to see how far a worker is.

    Attributes:
        committed: source offsets that its group has committed, and those of `output` if it reads that.
        sent: records in the workload's `output`.
        ends: records in all topics that it sends to.
    """

    committed: Gauge
    sent: Gauge
    ends: Gauge


@asynccontextmanager
async def gauges(
    kafka: str, group: str, prefix: str, workload: Workload, *, onward: bool
) -> AsyncIterator[Gauges]:
    """Open the gauges of a run.

    Args:
        kafka: addresses, host:port with commas.
        group: the worker's consumer group.
        prefix: of the topics.
        workload: what it drains.
        onward: whether it reads the workload's output, too.
    """
    read = (workload.source, workload.output) if onward else (workload.source,)
    count = await partition_count(kafka, f"{prefix}{workload.source}")
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=group, enable_auto_commit=False)

    def partitions(*names: str) -> list[TopicPartition]:
        return [TopicPartition(f"{prefix}{name}", number) for name in names for number in range(count)]

    async def committed() -> int:
        return sum([await consumer.committed(partition) or 0 for partition in partitions(*read)])

    async def sent() -> int:
        return sum((await consumer.end_offsets(partitions(workload.output))).values())

    async def ends() -> int:
        return sum((await consumer.end_offsets(partitions(workload.output, *workload.others))).values())

    def bounded(ask: Gauge) -> Gauge:
        async def gauge() -> int:
            async with asyncio.timeout(STALL_SECONDS):
                return await ask()

        return gauge

    await consumer.start()
    try:
        yield Gauges(bounded(committed), bounded(sent), bounded(ends))
    finally:
        await consumer.stop()
