"""When which agent works: Faust wakes it with a message, and it takes batches until none are left.

A message for each batch costs Faust's tasks, channel and stream a seventh of a millisecond.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, Protocol

from faust.types import TP

from millstream.engine.batch import Batch

# Faust drops its messages in a rebalance: an agent that has not woken up after so long gets another.
LOST_SECONDS = 1.0
# An agent stays awake for so long without work: to be woken takes longer than a small batch.
STAY_SECONDS = 0.1
# Other tasks on the event loop wait at most so long, and one batch. Batches without a pause share requests.
HOLD_SECONDS = 0.02


class Scheduled(Protocol):
    """A partition whose batches an agent takes."""

    @property
    def has_work(self) -> bool:
        """Whether there may be a batch for the agent."""
        ...

    def next_batch(self) -> Batch[Any] | None:
        """Return a batch for the agent; None while it has one, or there is nothing to do."""
        ...


class Scheduler:
    """Wakes the batch agents, by the topics that they read.

    Args:
        partitions: the partitions that this worker owns.

    Attributes:
        notified: set when an agent may have to be woken.
    """

    def __init__(self, partitions: Mapping[TP, Scheduled]) -> None:
        self._partitions = partitions
        self._awake: dict[str, asyncio.Event] = {}
        self._woken: dict[str, float] = {}
        self.notified = asyncio.Event()

    def notify(self, topic: str) -> None:
        """Let the agent of a topic look for work."""
        self._awake.get(topic, self.notified).set()

    def wake(self) -> list[TP]:
        """Return a partition of each topic whose agent must be woken: it sleeps, and there is work."""
        now, due = time.monotonic(), dict[str, TP]()
        for tp, partition in self._partitions.items():
            if tp.topic in due or tp.topic in self._awake:
                continue
            if now >= self._woken.get(tp.topic, 0.0) + LOST_SECONDS and partition.has_work:
                due[tp.topic] = tp
                self._woken[tp.topic] = now
        return list(due.values())

    def sleep(self, topic: str) -> None:
        """Note that a topic's agent has to be woken."""
        self._awake.pop(topic, None)
        self._woken.pop(topic, None)

    async def batches(self, topic: str, messages: AsyncIterable[Any]) -> AsyncIterator[Batch[Any]]:
        """Yield what the partitions of a topic have, at each message until they have no more."""
        async for _ in messages:
            notified = self._awake[topic] = asyncio.Event()
            try:
                while True:
                    notified.clear()
                    began, offered = time.monotonic(), self._offered(topic)
                    for batch in offered:
                        yield batch
                        if time.monotonic() - began > HOLD_SECONDS:
                            await asyncio.sleep(0)
                            began = time.monotonic()
                    await asyncio.sleep(0)
                    if not offered and not await _is_set(notified):
                        break
            finally:
                self.sleep(topic)

    def _offered(self, topic: str) -> list[Batch[Any]]:
        """Return batches for the agent of a topic, at most one of each partition."""
        return [
            batch
            for tp, partition in self._partitions.items()
            if tp.topic == topic and (batch := partition.next_batch()) is not None
        ]


async def _is_set(notified: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(STAY_SECONDS):
            return await notified.wait()
    except TimeoutError:
        return False
