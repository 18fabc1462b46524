"""What answers cost the pipeline: how fast a worker drains while it is asked, and while it is not."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bench.service import Drain, Service

TURNS = 3
TURN_SECONDS = 5
# Before the first turn, while a worker is fetching its first batches.
WARM_SECONDS = 3.0


@dataclass(frozen=True)
class Cost:
    """What was measured, in turns.

    Attributes:
        alone: what the worker did unasked.
        asked: what it did while it was asked.
        requests: number of answers meanwhile.
        each: CPU seconds of the worker for one, when it does nothing else.
    """

    alone: Drain
    asked: Drain
    requests: int
    each: float

    @property
    def fall(self) -> float:
        """By which share the rate of events falls."""
        return 1 - self.asked.rate / self.alone.rate

    @property
    def explained(self) -> float:
        """By which it would if the answers took their CPU time from the events, and nothing else did."""
        left = self.asked.cpu_seconds - self.requests * self.each
        return 1 - left / self.asked.seconds * self.alone.cpu_rate / self.alone.rate


async def cost(service: Service, total: int, ask: Callable[[], int]) -> Cost:
    """Measure a worker that drains a prefilled topic.

    Args:
        service: with a worker that is ready, and so much to do that it is not done meanwhile.
        total: number of events in its topic.
        ask: asks for `TURN_SECONDS`, and returns the number of answers; it is called in a thread.

    Raises:
        BenchError: the topic is drained too soon.
    """
    await asyncio.sleep(WARM_SECONDS)
    turns: list[tuple[Drain, Drain]] = []
    requests = 0
    for _ in range(TURNS):
        first = await service.mark()
        await asyncio.sleep(TURN_SECONDS)
        second = await service.mark()
        requests += await asyncio.to_thread(ask)
        turns.append((Drain.between(first, second), Drain.between(second, await service.mark())))
    async for _ in service.marks(total):
        pass
    idle = await service.mark()
    answers = await asyncio.to_thread(ask)
    each = ((await service.mark()).cpu_seconds - idle.cpu_seconds) / answers
    alone, asked = map(_sum, zip(*turns, strict=True))
    return Cost(alone, asked, requests, each)


def _sum(drains: tuple[Drain, ...]) -> Drain:
    return Drain(
        sum(one.events for one in drains),
        sum(one.seconds for one in drains),
        sum(one.cpu_seconds for one in drains),
    )
