"""Whose turn it is: Faust wakes an agent with a message, and the agent takes batches until none are left.

A message for each batch costs Faust's tasks, channel and stream a seventh of a millisecond.
"""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any

from faust.types import TP

from app.engine.batch import Batch

if TYPE_CHECKING:
    from app.engine.engine import Engine

# Faust drops its messages in a rebalance: an agent that has not woken up after so long gets another.
LOST_SECONDS = 1.0
# An agent stays awake for so long without work: to be woken takes longer than a small batch.
STAY_SECONDS = 0.1
# The others on the event loop wait at most so long, and a batch. Batches without a pause share requests.
HOLD_SECONDS = 0.02


class Turns:
    """The turns of the batch agents, by the topics that they read.

    Attributes:
        called: set when an agent may have to be woken.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._awake: dict[str, asyncio.Event] = {}
        self._woken: dict[str, float] = {}
        self.called = asyncio.Event()

    def call(self, topic: str) -> None:
        """Have the agent of a topic look for work."""
        self._awake.get(topic, self.called).set()

    def wake(self) -> list[TP]:
        """Return a partition of each topic whose agent must be woken: it sleeps, and there is work."""
        now, due = time.monotonic(), dict[str, TP]()
        for tp, partition in self._engine.partitions.items():
            if tp.topic in due or tp.topic in self._awake:
                continue
            if now >= self._woken.get(tp.topic, 0.0) + LOST_SECONDS and partition.has_work:
                due[tp.topic] = tp
                self._woken[tp.topic] = now
        return list(due.values())

    def sleeps(self, topic: str) -> None:
        """Note that a topic's agent has to be woken."""
        self._awake.pop(topic, None)
        self._woken.pop(topic, None)

    async def batches(self, topic: str, messages: AsyncIterable[Any]) -> AsyncIterator[Batch[Any]]:
        """Yield what the partitions of a topic have, at each message until they have no more."""
        async for _ in messages:
            called = self._awake[topic] = asyncio.Event()
            try:
                while True:
                    called.clear()
                    began, chunks = time.monotonic(), self._engine.offers(topic)
                    for chunk in chunks:
                        yield Batch(chunk)
                        if time.monotonic() - began > HOLD_SECONDS:
                            await asyncio.sleep(0)
                            began = time.monotonic()
                    await asyncio.sleep(0)
                    if not chunks and not await _is_set(called):
                        break
            finally:
                self.sleeps(topic)


async def _is_set(called: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(STAY_SECONDS):
            return await called.wait()
    except TimeoutError:
        return False
