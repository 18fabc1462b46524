"""Open-loop load on a service, while something is measured."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from bench.expected import Expected, events
from bench.feed import Feed
from bench.reader import Arrivals, read
from bench.sender import LINGER_MS, Sent, send
from bench.service import Drain, Service
from bench.worker import BenchError
from millstream.sources.send import send as send_all

P = ParamSpec("P")
T = TypeVar("T")

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
        outputs: of the first enriched event of each partition.
        sent: what the sender did; set at the end.
        helpers: processes.
        futures: of what they do.
    """

    feed: Feed
    rate: float
    start: int
    offsets: dict[int, int]
    outputs: dict[int, int]
    helpers: Executor
    futures: list[asyncio.Future[Any]] = field(default_factory=list)
    sent: Sent | None = None

    def beside(self, do: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Do something in another process meanwhile."""
        future = asyncio.get_running_loop().run_in_executor(self.helpers, partial(do, *args, **kwargs))
        self.futures.append(future)
        return future

    async def until(self, seconds: float) -> None:
        """Wait until so long after the start."""
        await asyncio.sleep(max(0.0, seconds + (self.start - time.monotonic_ns()) / 1e9))

    def due(self, number: int) -> int:
        """When an event is due, nanoseconds of the monotonic clock."""
        return self.start + int(number * 1e9 / self.rate)


@asynccontextmanager
async def load(
    service: Service, helpers: Executor, feed: Feed, rate: float, linger: int = LINGER_MS
) -> AsyncIterator[Load]:
    """Send a feed meanwhile, in another process.

    Args:
        service: where to.
        helpers: with a process that is free.
        feed: what.
        rate: events a second.
        linger: see `bench.sender.send`.

    Raises:
        BenchError: the events are not in Kafka at the end, each once and in the partition that was foreseen.
    """
    start, offsets = time.monotonic_ns() + int(START_SECONDS * 1e9), await service.ends(service.source)
    running = Load(feed, rate, start, offsets, await service.ends(service.output), helpers)
    sending = running.beside(send, service.kafka, service.source, feed.path, feed.count, rate, start, linger)
    try:
        yield running
        running.sent = await sending
        ends = await service.ends(service.source)
        found = {number: end - offsets[number] for number, end in ends.items()}
        if found != {number: len(numbers) for number, numbers in feed.numbers.items()}:
            raise BenchError(
                f"{feed.count:,} events were sent, {sum(found.values()):,} are in Kafka: {found}"
            )
    except BaseException:
        for future in running.futures:
            future.cancel()
        raise


def reading(service: Service, running: Load) -> asyncio.Future[Arrivals]:
    """Have a consumer read what comes of a load meanwhile, in another process."""
    return running.beside(read, service.kafka, service.output, running.outputs, running.feed.outputs)


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


async def check(service: Service, expected: Expected, workers: int = 1) -> list[str]:
    """Compare what came out with what must come out; no line is no difference.

    Args:
        service: where it came out.
        expected: what must.
        workers: how many there were; among several, partitions change hands while all start.
    """
    async with asyncio.timeout(CHECK_SECONDS):
        return await expected.problems(service.kafka, service.prefix, repeats=workers > 1)


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
        return drained, await check(service, expected, workers)
