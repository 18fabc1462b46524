"""The agents of a source topic: each batch goes through all of them, in the order of their declaration."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from millstream.engine.batch import Batch
from millstream.errors import DeclarationError

Agent = Callable[[Any], Any]


class AgentGroup:
    """The agents of a topic.

    They share the commit of a batch: what all of them send and change is applied together, or not at all. One
    works on a batch when the one before it is done with it. If one fails, all get the batch again.

    Args:
        topic: the topic.

    Attributes:
        runner: Faust's agent, which runs all of them; None before there is one.
    """

    def __init__(self, topic: str) -> None:
        self.runner: Any = None
        self._topic = topic
        self._agents: list[Agent] = []

    def add(self, agent: Agent) -> None:
        """Add an agent.

        Raises:
            DeclarationError: there is one of this name.
        """
        name = _name(agent)
        if name in map(_name, self._agents):
            raise DeclarationError(f"two agents of {self._topic} have the name {name}: rename one")
        self._agents.append(agent)

    def __len__(self) -> int:
        return len(self._agents)

    def start(self, batches: AsyncIterable[Batch[Any]]) -> Any:
        """Return what Faust runs: a lone agent as it is, which may yield to its sinks, else `run`."""
        return self._agents[0](batches) if len(self._agents) == 1 else self.run(batches)

    async def run(self, batches: AsyncIterable[Batch[Any]]) -> None:
        """Run the agents on batches; it ends when one of them ends or raises."""
        if len(self._agents) == 1:
            await _driven(self._agents[0], batches)
            return
        turns = [_Turn(agent) for agent in self._agents]
        try:
            async for batch in batches:
                batch.agents = len(turns)
                for turn in turns:
                    if not batch.over:
                        await turn.take(batch)
        finally:
            for turn in turns:
                await turn.end()


class _Turn:
    """An agent, and the batch that it works on."""

    def __init__(self, agent: Agent) -> None:
        self._batch: asyncio.Queue[Batch[Any]] = asyncio.Queue(1)
        self._asks = asyncio.Event()
        self._agent = asyncio.ensure_future(_driven(agent, self._batches()))

    async def _batches(self) -> AsyncIterator[Batch[Any]]:
        while True:
            self._asks.set()
            yield await self._batch.get()

    async def take(self, batch: Batch[Any]) -> None:
        """Have the agent work on a batch, until it asks for the next one.

        Raises:
            Exception: what the agent has raised.
        """
        await self._asked()
        self._asks.clear()
        self._batch.put_nowait(batch)
        await self._asked()

    async def _asked(self) -> None:
        asks = asyncio.ensure_future(self._asks.wait())
        try:
            await asyncio.wait((asks, self._agent), return_when=asyncio.FIRST_COMPLETED)
        finally:
            asks.cancel()
        if self._agent.done():
            await self._agent
            raise RuntimeError("an agent has ended: `async for batch in batches` goes on for ever")

    async def end(self) -> None:
        """End the agent."""
        self._agent.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._agent


async def _driven(agent: Agent, batches: AsyncIterable[Batch[Any]]) -> None:
    """Run an agent; what one yields goes nowhere."""
    running = agent(batches)
    if isinstance(running, AsyncIterable):
        async for _ in running:
            pass
    else:
        await running


def _name(agent: Agent) -> str:
    return f"{getattr(agent, '__module__', '')}.{getattr(agent, '__qualname__', agent)}"
