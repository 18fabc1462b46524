"""A batch between its agent and its commit."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.engine.meters import Tally
from app.engine.out import Updates


@dataclass
class Staged:
    """A batch whose agent is done: to be committed when its outputs are delivered.

    Attributes:
        since: when it was done, on the monotonic clock.
    """

    changes: Any
    updates: Updates
    deliveries: list[asyncio.Future[Any]]
    position: int
    watermark: float
    applied: int
    flood: tuple[int, int, int]
    tally: Tally
    since: float = field(default_factory=time.monotonic)

    @property
    def records(self) -> int:
        """Number of the batch's records."""
        return self.tally.records

    @property
    def delivered(self) -> bool:
        """Whether all of its outputs are confirmed."""
        return all(d.done() and not d.cancelled() and d.exception() is None for d in self.deliveries)


def forget(deliveries: Iterable[asyncio.Future[Any]]) -> None:
    """Let deliveries fail without asyncio's complaint that nobody looked."""
    for delivery in deliveries:
        delivery.add_done_callback(lambda done: done.cancelled() or done.exception())
