"""Whether a service keeps up."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from bench.service import Service

LOOK_SECONDS = 0.25
# Events are taken in batches, so a line through a lag that stays is never quite level: in the time that is
# watched it may rise by what comes in so long.
RISE_SECONDS = 0.3


@dataclass(frozen=True)
class Lag:
    """The lag in a stretch of time.

    Attributes:
        mean: events that were sent and not yet in the state.
        growth: what it grew by, events a second.
        seconds: length of the stretch.
    """

    mean: float
    growth: float
    seconds: float

    def flat(self, rate: float) -> bool:
        """Whether it stays, where so many events a second come."""
        return self.growth * self.seconds < RISE_SECONDS * rate


async def lag(service: Service, seconds: float) -> Lag:
    """Watch a service for a time."""
    end = time.monotonic() + seconds
    found = []
    while time.monotonic() < end:
        found.append((time.monotonic(), await service.lag()))
        await asyncio.sleep(LOOK_SECONDS)
    return fit(found)


def fit(found: Sequence[tuple[float, int]]) -> Lag:
    """Lay a line through moments (seconds) and lags (events), by least squares."""
    moments, lags = zip(*found, strict=True)
    growth = linear_regression(moments, lags).slope if len(found) > 1 else 0.0
    return Lag(fmean(lags), growth, moments[-1] - moments[0])
