"""A steady stream of events into a topic, beside the test."""

import asyncio
import threading
import time
from collections.abc import Iterator

from millstream.sources.record import Record
from millstream.sources.send import Sent, send

# Events that come one by one would seldom be caught under way: below this rate they come in bursts.
STEADY = 1_000
BURSTS = 4  # a second


class Feed:
    """Sends records from a thread of its own.

    Args:
        kafka: where to.
        topic: its full name.
        records: what; each is sent once, and confirmed.
        rate: records a second.
    """

    def __init__(self, kafka: str, topic: str, records: Iterator[Record], rate: float) -> None:
        self._kafka, self._topic, self._records = kafka, topic, records
        self._rate = rate
        self._burst = 1 if rate >= STEADY else max(1, int(rate / BURSTS))
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="feed")
        self._thread.start()
        self.sent: Sent | None = None
        self.error: BaseException | None = None

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        async def main() -> Sent:
            self._loop = asyncio.get_running_loop()
            return await send(
                self._records,
                bootstrap=self._kafka,
                topic=self._topic,
                due=lambda number, _: number // self._burst * self._burst / self._rate,
                stop=self._stop,
            )

        try:
            self.sent = asyncio.run(main())
        except BaseException as exc:
            self.error = exc

    def wait(self, seconds: float = 300) -> Sent:
        self._thread.join(seconds)
        assert not self.alive, f"the feed has not ended after {seconds} s"
        assert self.sent is not None, f"the feed has failed: {self.error!r}"
        return self.sent

    def stop(self) -> None:
        deadline = time.monotonic() + 5
        while self._loop is None and self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        if self._loop is not None and self.alive:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
