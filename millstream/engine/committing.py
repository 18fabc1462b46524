"""Committed: staged batches, once delivered, are appended to the state log and applied, in order."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from millstream.engine.counters import BatchStatistics, Counters
from millstream.engine.cursor import Cursor
from millstream.engine.delivery import Delivery
from millstream.engine.outputs import Updates
from millstream.engine.staging import CommitQueue, Staged, merged
from millstream.engine.tracing import Tracer
from millstream.state.errors import TooLargeError
from millstream.state.log import Position
from millstream.state.replica import Changes


class Committing:
    """Carries the batches of a partition from staged to committed.

    Args:
        cursor: how far the partition has come.
        delivery: sends the updates.
        counters: counts what is committed.
        tick: waits for the next moment at which partitions commit.
        clock: returns the time, seconds since the epoch.
        tracer: returns who follows events.
        committed: called after each commit.

    Attributes:
        queue: the batches that wait.
    """

    def __init__(
        self,
        cursor: Cursor,
        delivery: Delivery,
        counters: Counters,
        *,
        tick: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        tracer: Callable[[], Tracer],
        committed: Callable[[], None],
    ) -> None:
        self._cursor = cursor
        self._delivery = delivery
        self._counters = counters
        self._tick = tick
        self._clock = clock
        self._tracer = tracer
        self._committed = committed
        self.queue = CommitQueue()
        self._changed = asyncio.Event()
        self._failure: Exception | None = None
        self._last: Exception | None = None

    def stage(
        self,
        changes: Changes,
        updates: Updates,
        deliveries: list[asyncio.Future[Any]],
        statistics: BatchStatistics,
        dead_letters: tuple[int, int, int],
    ) -> None:
        """Take over what a batch has come to, as of the cursor."""
        cursor = self._cursor
        cursor.owned_state.stage(changes)
        position = (cursor.accepted, cursor.watermark, cursor.applied, dead_letters)
        self.queue.add(Staged(changes, updates, deliveries, *position, statistics))
        self._changed.set()

    def interrupt(self, failure: Exception) -> None:
        """End `run` with a failure, whatever waits."""
        self._failure = failure
        self._changed.set()

    def end_with(self, error: Exception) -> None:
        """End `run` with an error, once all that waits is committed."""
        self._last = error

    def begin(self) -> None:
        """Forget the failure that has ended the run before."""
        self._failure = None

    def drop(self) -> None:
        """Forget what waits; it is not committed."""
        self.queue.drop()

    async def run(self) -> None:
        """Commit what is staged, until something fails.

        Raises:
            FencedError: another worker owns the partition now.
            Exception: whatever has failed.
        """
        queue, cursor = self.queue, self._cursor
        while True:
            if not queue and self._last is not None:
                raise self._last
            while not queue and self._failure is None:
                self._changed.clear()
                await self._changed.wait()
            if self._failure is not None:
                raise self._failure
            await asyncio.gather(*queue.first(1)[0].deliveries)
            if cursor.generation is not None:
                await self._tick()
            # Whatever else has been delivered by now goes into the same commit.
            ready = queue.delivered()
            try:
                await self._commit(ready)
            except TooLargeError:
                if ready == 1:
                    raise
                for _ in range(ready):
                    await self._commit(1)

    async def _commit(self, count: int) -> None:
        """Commit the first batches together."""
        began, own = time.monotonic(), BatchStatistics()
        cursor, group = self._cursor, self.queue.first(count)
        changes, updates = merged(group)
        if updates:
            await self._delivery.send_updates(updates, own)
        last = group[-1]
        position = Position(
            {cursor.source.topic: last.position}, last.watermark, last.applied, last.dead_letters
        )
        state = cursor.owned_state
        await state.commit(changes, position)
        state.applied([staged.changes for staged in group])
        cursor.committed = last.position
        statistics = [own, *(staged.statistics for staged in group)]
        self._counters.committed(statistics, time.monotonic() - began, self._clock())
        if traces := [trace for one in statistics for trace in one.traces.values()]:
            self._tracer().end(traces)
        self.queue.committed(count)
        self._committed()
