"""When an event is visible over HTTP: its id is asked for again and again. For a process of its own."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import uvloop

from bench.worker import BenchError

# The next question follows after this share of the time waited so far, but not at once: what it adds to a
# latency is bounded, and so is what it asks of a worker that is behind.
PAUSE_SHARE = 0.05
PAUSE_SECONDS = 0.001
GIVE_UP_SECONDS = 60.0
FOUND, NOT_FOUND = 200, 404


@dataclass(frozen=True)
class Probed:
    """What came of the probes.

    Attributes:
        latencies: seconds from when each event was due until it was visible.
        missing: number of events that never were.
        asked: number of questions.
    """

    latencies: list[float]
    missing: int
    asked: int


def probe(url: str, probes: Sequence[tuple[int, str]]) -> Probed:
    """Ask for each event from when it is due.

    Args:
        url: what an event's id is put behind.
        probes: the monotonic clock's nanoseconds when an event is due, and its id.

    Raises:
        BenchError: the worker answers neither that it is there nor that it is not.
    """
    return uvloop.run(_probe(url, probes))


async def _probe(url: str, probes: Sequence[tuple[int, str]]) -> Probed:
    timeout = aiohttp.ClientTimeout(total=GIVE_UP_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        try:
            found = await asyncio.gather(*(_wait(session, url + key, due) for due, key in probes))
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise BenchError(f"the worker's views do not answer: {exc!r}") from exc
    latencies = [latency for latency, _ in found if latency is not None]
    return Probed(latencies, len(found) - len(latencies), sum(asked for _, asked in found))


async def _wait(session: aiohttp.ClientSession, url: str, due: int) -> tuple[float | None, int]:
    """Return seconds from `due` until it was there (None: never), and how often it was asked for."""
    asked = 0
    await asyncio.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
    while True:
        async with session.get(url) as answer:
            await answer.read()
        asked += 1
        waited = (time.monotonic_ns() - due) / 1e9
        if answer.status == FOUND:
            return waited, asked
        if answer.status != NOT_FOUND:
            raise BenchError(f"{url} answers {answer.status}")
        if waited > GIVE_UP_SECONDS:
            return None, asked
        await asyncio.sleep(max(PAUSE_SECONDS, PAUSE_SHARE * waited))
