"""The highest load that a service keeps up with: an open loop whose lag stays flat, found by bisection."""

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import click

from bench.feed import Feeder
from bench.lag import RISE_SECONDS, Lag, lag
from bench.load import load, reading
from bench.service import Service

# The highest load is looked for up to this multiple of the drain rate, and this closely.
BEYOND = 1.25
CLOSE = 0.05
# What else the machine does at times must not end the search too low.
TRIES = 2


@dataclass(frozen=True)
class Watch:
    """How each load is watched.

    Attributes:
        warm: seconds before the lag is watched.
        seconds: while it is.
        reader: whether a consumer reads the enriched events meanwhile, on the same machine.
    """

    warm: float = 5
    seconds: float = 15  # RocksDB compacts every ten seconds or so: it is a part of each load
    reader: bool = False

    @property
    def meaning(self) -> str:
        """What the capacity is."""
        return (
            f"capacity: highest load, within {CLOSE:.0%}, whose lag grew by less than what comes in "
            f"{1000 * RISE_SECONDS:.0f} ms, in {self.seconds:.0f} s after {self.warm:.0f} s, at the first or "
            f"second try, {'with' if self.reader else 'without'} a consumer of the enriched events beside "
            "it; the sender does not wait for the workers"
        )


async def capacity(
    service: Service, helpers: Executor, feeder: Feeder, path: Path, drained: float, watch: Watch
) -> tuple[float, float]:
    """Look for the highest load that a service keeps up with.

    Args:
        service: whose workers are ready.
        helpers: with a process that is free, two with a reader.
        feeder: of the events; it goes on.
        path: where a feed may be written.
        drained: events a second that the workers drain a prefilled topic with.
        watch: how.

    Returns:
        Events a second, and the mean lag under them, in seconds.
    """
    low, high, behind = 0.0, BEYOND * drained, 0.0
    while high - low > CLOSE * high:
        rate = (low + high) / 2
        for _ in range(TRIES):
            click.echo(f"{rate:,.0f} events/s: ", nl=False, err=True)
            found = await _try(service, helpers, feeder, path, rate, watch)
            click.echo(f"lag {found.mean:,.0f}, {found.growth:+,.0f}/s", err=True)
            if found.flat(rate):
                low, behind = rate, found.mean / rate
                break
        else:
            high = rate
    return low, behind


async def _try(
    service: Service, helpers: Executor, feeder: Feeder, path: Path, rate: float, watch: Watch
) -> Lag:
    feed = await asyncio.to_thread(feeder.feed, path, int((watch.warm + watch.seconds) * rate))
    async with load(service, helpers, feed, rate) as running:
        if watch.reader:
            reading(service, running)
        await running.until(watch.warm)
        found = await lag(service, watch.seconds - 1)
    await asyncio.to_thread(path.unlink)
    async for _ in service.marks(feeder.expected.records):
        pass  # what is left over would be the next load's lag
    await asyncio.gather(*running.futures)
    return found
