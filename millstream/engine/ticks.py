"""The moments at which partitions commit."""

import asyncio
import time

# Partitions commit at multiples of it: small batches share a commit, and the commits of all partitions share
# requests. Their outputs do not wait.
COMMIT_SECONDS = 0.025


class Ticks:
    """Lets all partitions commit at the same moments.

    Attributes:
        seconds: the moments are multiples of it; 0 for at once.
    """

    def __init__(self, seconds: float = COMMIT_SECONDS) -> None:
        self.seconds = seconds
        self._next: asyncio.Event | None = None

    async def wait(self) -> None:
        """Wait for the next moment: all partitions go on at once."""
        seconds = self.seconds
        if not seconds:
            return
        if self._next is None:
            self._next = asyncio.Event()
            asyncio.get_running_loop().call_later(seconds - time.monotonic() % seconds, self._go_on)
        await self._next.wait()

    def _go_on(self) -> None:
        moment, self._next = self._next, None
        assert moment is not None
        moment.set()
