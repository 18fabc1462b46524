"""Staged: batches that their agent is done with wait for their commit."""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

from millstream.engine.counters import BatchStatistics
from millstream.engine.outputs import Updates
from millstream.kafka.producer import forget
from millstream.state.replica import Changes

# How much of a partition may wait at once: enough that no round trip to Kafka is waited for, also where a
# batch is larger than a full one, since record batches are taken whole; and no more, since what has waited
# for long is not in a core's cache any more when it is committed.
DEPTH = 10  # full batches
LEAST_BATCHES, MOST_BATCHES = 4, 64


@dataclass
class Staged:
    """A batch whose agent is done: to be committed when its outputs are delivered.

    Attributes:
        changes: what its tables change.
        updates: its outputs that replace earlier ones.
        deliveries: the deliveries of its other outputs.
        position: offset after its last record.
        watermark: the watermark after it, seconds since the epoch.
        applied: number of events that the partition has taken in with it.
        dead_letters: the dead-letter counter after it.
        statistics: its counts.
        since: when it was done, on the monotonic clock.
    """

    changes: Changes
    updates: Updates
    deliveries: list[asyncio.Future[Any]]
    position: int
    watermark: float
    applied: int
    dead_letters: tuple[int, int, int]
    statistics: BatchStatistics
    since: float = field(default_factory=time.monotonic)

    @property
    def records(self) -> int:
        """Number of the batch's records."""
        return self.statistics.records

    @property
    def delivered(self) -> bool:
        """Whether all of its outputs are confirmed."""
        return all(d.done() and not d.cancelled() and d.exception() is None for d in self.deliveries)


class CommitQueue:
    """The batches of a partition that wait for their commit, in order.

    Attributes:
        empty: set while there are none.
    """

    def __init__(self) -> None:
        self._batches: deque[Staged] = deque()
        self.empty = asyncio.Event()
        self.empty.set()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def since(self) -> float | None:
        """When the oldest batch was done, on the monotonic clock; None if there is none."""
        return self._batches[0].since if self._batches else None

    def deep(self, limit: int) -> bool:
        """Whether no more should be added, where a full batch has `limit` records."""
        batches = len(self._batches)
        return batches >= LEAST_BATCHES and (
            batches >= MOST_BATCHES or sum(staged.records for staged in self._batches) >= DEPTH * limit
        )

    def add(self, staged: Staged) -> None:
        """Add the next batch."""
        self._batches.append(staged)
        self.empty.clear()

    def first(self, count: int) -> list[Staged]:
        """Return so many batches."""
        return list(islice(self._batches, count))

    def delivered(self) -> int:
        """Return how many batches, from the first on, have all of their outputs confirmed."""
        return sum(1 for _ in takewhile(lambda staged: staged.delivered, self._batches))

    def committed(self, count: int) -> None:
        """Remove the first batches."""
        for _ in range(count):
            self._batches.popleft()
        if not self._batches:
            self.empty.set()

    def drop(self) -> None:
        """Remove all batches: they are not committed."""
        for staged in self._batches:
            forget(staged.deliveries)
        self._batches.clear()
        self.empty.set()


def merged(batches: list[Staged]) -> tuple[Changes, Updates]:
    """Return the changes and the updates of batches together."""
    if len(batches) == 1:
        return batches[0].changes, batches[0].updates
    changes, updates = Changes(), Updates()
    for staged in batches:
        changes.update(staged.changes)
        updates.update(staged.updates)
    return changes, updates
