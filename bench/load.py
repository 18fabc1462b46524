"""Open-loop load on a service, while something is measured."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.sources.send import send as send_all
from bench.expected import Expected, events
from bench.feed import Feed
from bench.sender import Sent, send
from bench.service import Drain, Service
from bench.worker import BenchError

# The helpers must have begun before the first event is due.
START_SECONDS = 3.0
FILL_SECONDS = CHECK_SECONDS = 3600


@dataclass
class Load:
    """A feed on its way.

    Attributes:
        feed: the events.
        rate: events a second that are due.
        start: the monotonic clock's nanoseconds when the first is due.
        offsets: of the first event of each partition.
        sent: what the sender did; set at the end.
    """

    feed: Feed
    rate: float
    start: int
    offsets: dict[int, int]
    sent: Sent | None = None

    async def until(self, seconds: float) -> None:
        """Wait until so long after the start."""
        await asyncio.sleep(max(0.0, seconds + (self.start - time.monotonic_ns()) / 1e9))

    def due(self, number: int) -> int:
        """When an event is due, nanoseconds of the monotonic clock."""
        return self.start + int(number * 1e9 / self.rate)


@asynccontextmanager
async def load(service: Service, helpers: Executor, feed: Feed, rate: float) -> AsyncIterator[Load]:
    """Send a feed meanwhile, in another process.

    Args:
        service: where to.
        helpers: with a process that is free.
        feed: what.
        rate: events a second.

    Raises:
        BenchError: the events are not in Kafka at the end, each once.
    """
    running = Load(
        feed,
        rate,
        time.monotonic_ns() + int(START_SECONDS * 1e9),
        await service.ends(service.source),
    )
    sending = asyncio.get_running_loop().run_in_executor(
        helpers, send, service.kafka, service.source, feed.path, feed.count, rate, running.start
    )
    try:
        yield running
    except BaseException:
        sending.cancel()
        raise
    running.sent = await sending
    ends = await service.ends(service.source)
    found = {number: end - running.offsets[number] for number, end in ends.items()}
    if found != {number: len(numbers) for number, numbers in feed.numbers.items()}:
        raise BenchError(f"{feed.count:,} events were sent, {sum(found.values()):,} are in Kafka")


async def fill(service: Service, count: int, seed: int, rate: float | None = None) -> Expected:
    """Send events as fast as it goes; see `bench.expected.events`.

    Returns:
        What must come of them.
    """
    expected = Expected()
    async with asyncio.timeout(FILL_SECONDS):
        records = expected.watch(events(count, seed, rate), time.time())
        await send_all(records, bootstrap=service.kafka, topic=service.source)
    return expected


async def check(service: Service, expected: Expected) -> list[str]:
    """Compare what came out with what must come out; no line is no difference."""
    async with asyncio.timeout(CHECK_SECONDS):
        return await expected.problems(service.kafka, service.prefix)


async def drain(
    kafka: str, folder: Path, count: int, seed: int, workers: int = 1, **settings: str
) -> tuple[Drain, list[str]]:
    """Have workers drain a prefilled topic.

    Args:
        kafka: addresses, host:port with commas.
        folder: see `Service`.
        count: number of events.
        seed: of the events.
        workers: how many.
        settings: see `Service`.

    Returns:
        How fast, and what is wrong with the outputs.
    """
    async with Service(kafka, folder, **settings) as service:
        expected = await fill(service, count, seed)
        for _ in range(workers):
            service.start()
        drained = await service.drained(count)
        return drained, await check(service, expected)
