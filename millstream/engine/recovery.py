"""Begin again after a failure: what is not committed is dropped, and fetched again from the position."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from millstream.engine.committing import Committing
from millstream.engine.counters import Counters
from millstream.engine.cursor import Cursor
from millstream.engine.error_handling import ErrorHandler
from millstream.state.errors import FencedError, TooLargeError, UnrecoverableError

logger = logging.getLogger(__name__)

StopWorker = Callable[[str, Exception | None], Awaitable[None]]
"""Ends the process; takes the reason, and the exception that it comes from."""


class Recovery:
    """Runs a partition: take over, commit, and after a failure again from the start.

    Args:
        cursor: how far the partition has come.
        errors: decides what a failure means.
        committing: is ended by a failure.
        counters: counts the new starts.
        stop_worker: ends the process.
        sleep: waits, for so many seconds.
        session_seconds: returns how long the group waits for a silent worker.
    """

    def __init__(
        self,
        cursor: Cursor,
        errors: ErrorHandler,
        committing: Committing,
        counters: Counters,
        *,
        stop_worker: StopWorker,
        sleep: Callable[[float], Awaitable[None]],
        session_seconds: Callable[[], float],
    ) -> None:
        self._cursor = cursor
        self._errors = errors
        self._committing = committing
        self._counters = counters
        self._stop_worker = stop_worker
        self._sleep = sleep
        self._session_seconds = session_seconds
        self._failure: Exception | None = None
        self._blame: tuple[int | None, bool] = (None, False)

    def fail(self, failure: Exception, at: int | None = None, *, by_agent: bool = False) -> None:
        """Make the partition begin again.

        Args:
            failure: why.
            at: offset of the event that the agent was at; None if it was at none.
            by_agent: whether its agent failed, not we.
        """
        self._cursor.generation = None
        self._failure, self._blame = failure, (at, by_agent)
        self._committing.interrupt(failure)

    async def run(self, take_over: Callable[[], Awaitable[None]], drop: Callable[[], None]) -> None:
        """Take over and commit, until it is cancelled or the worker ends.

        Args:
            take_over: restores the state, and gives the partition work.
            drop: forgets what is not committed.
        """
        while True:
            try:
                await take_over()
                await self._committing.run()
            except FencedError as exc:
                # The group must be giving it to another worker; taking it back would only fence that one.
                drop()
                name = self._cursor.name
                logger.warning("%s: %s; waiting for the rebalance", name, exc)
                await asyncio.sleep(self._session_seconds())
                await self._stop_worker(f"{name} is owned by another worker: {exc}", exc)
            except UnrecoverableError as exc:
                await self._stop_worker(str(exc), _cause(exc))
            except Exception as exc:  # whatever it is, the partition begins again from its position
                drop()
                self._counters.retries += 1
                if not self._cut_batches(exc):
                    await self._wait(exc)

    def _cut_batches(self, failure: Exception) -> bool:
        """Make batches smaller, if that is what a failure asks for."""
        cursor = self._cursor
        if not isinstance(failure, TooLargeError) or cursor.limit <= 1:
            return False
        cursor.limit = max(1, cursor.limit // 2)
        logger.warning("%s: %s; batches are cut to %d records", cursor.name, failure, cursor.limit)
        return True

    async def _wait(self, failure: Exception) -> None:
        at, by_agent = self._blame if failure is self._failure else (None, False)
        try:
            await self._sleep(self._errors.judge(failure, at, by_agent=by_agent))
        except UnrecoverableError as exc:
            await self._stop_worker(str(exc), _cause(exc))


def _cause(failure: Exception) -> Exception:
    return failure.__cause__ if isinstance(failure.__cause__, Exception) else failure
