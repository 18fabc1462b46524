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
# Others on the event loop wait at most so long, and a batch.
HOLD_SECONDS = 0.002


class Turns:
    """The turns of the batch agents, by the topics that they read."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._at_work: set[str] = set()
        self._woken: dict[str, float] = {}

    def wake(self) -> list[TP]:
        """Return a partition of each topic whose agent must be woken: it sleeps, and there is work."""
        now, found = time.monotonic(), dict[str, TP]()
        for tp, partition in self._engine.partitions.items():
            topic = tp.topic
            if topic not in found and topic not in self._at_work and partition.has_work:
                found[topic] = tp
        due = [tp for topic, tp in found.items() if now >= self._woken.get(topic, 0.0) + LOST_SECONDS]
        self._woken.update((tp.topic, now) for tp in due)
        return due

    def sleeps(self, topic: str) -> None:
        """Note that a topic's agent is at no batch."""
        self._at_work.discard(topic)
        self._woken.pop(topic, None)

    async def batches(self, topic: str, messages: AsyncIterable[Any]) -> AsyncIterator[Batch[Any]]:
        """Yield what the partitions of a topic have, at each message until they have no more."""
        async for _ in messages:
            self._at_work.add(topic)
            try:
                while chunks := self._engine.offers(topic):
                    began = time.monotonic()
                    for chunk in chunks:
                        yield Batch(chunk)
                        if time.monotonic() - began > HOLD_SECONDS:
                            await asyncio.sleep(0)
                            began = time.monotonic()
                    await asyncio.sleep(0)
            finally:
                self.sleeps(topic)
