"""When an agent is woken, what it is given, and who else gets a turn."""

import asyncio
from collections.abc import AsyncIterator
from inspect import unwrap
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.exceptions import ImproperlyConfigured
from faust.types import TP

from app.application import App
from app.engine import turns
from app.engine.turns import Turns

A, B, OTHER = TP("t", 0), TP("t", 1), TP("other", 0)


class Work:
    """An engine with a number of chunks for each partition, and the messages that its agent was sent."""

    def __init__(self, **left: int) -> None:
        self.left = {{"a": A, "b": B, "other": OTHER}[name]: count for name, count in left.items()}
        self.sources = {tp.topic: None for tp in self.left}
        self.turns = Turns(cast(Any, self))
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.given: list[TP] = []

    @property
    def partitions(self) -> dict[TP, Any]:
        return {tp: SimpleNamespace(has_work=count > 0) for tp, count in self.left.items()}

    def offers(self, topic: str) -> list[Any]:
        found = [tp for tp, count in self.left.items() if count and tp.topic == topic]
        for tp in found:
            self.left[tp] -= 1
        return [SimpleNamespace(tp=tp) for tp in found]

    async def agent(self) -> None:
        async for batch in self.turns.batches("t", self._stream()):
            self.given.append(cast(Any, batch)._chunk.tp)

    async def _stream(self) -> AsyncIterator[bytes]:
        while True:
            yield await self.messages.get()

    async def run(self, seconds: float = 0.01) -> asyncio.Task[None]:
        task = asyncio.create_task(self.agent())
        self.messages.put_nowait(b"")
        await asyncio.sleep(seconds)
        return task


async def test_an_agent_is_woken_once_and_takes_all_that_there_is() -> None:
    work = Work(a=2, b=1)
    assert work.turns.wake() == [A]
    assert work.turns.wake() == []  # it has not woken up yet
    task = await work.run()
    assert work.given == [A, B, A]
    task.cancel()


async def test_each_topic_has_an_agent_of_its_own() -> None:
    assert Work(a=1, b=1, other=1).turns.wake() == [A, OTHER]


async def test_nobody_is_woken_for_nothing() -> None:
    assert Work(a=0).turns.wake() == []


async def test_a_message_that_was_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(a=1)
    assert work.turns.wake() == [A]
    monkeypatch.setattr(turns, "LOST_SECONDS", 0.0)
    assert work.turns.wake() == [A]


async def test_one_that_is_awake_needs_no_message() -> None:
    work = Work(a=1)
    task = await work.run()
    work.left[B] = 1
    assert work.turns.wake() == []
    work.turns.call("t")
    await asyncio.sleep(0.01)
    assert work.given == [A, B]
    assert not work.turns.called.is_set()
    work.turns.call("other")
    assert work.turns.called.is_set()  # that one sleeps
    task.cancel()


async def test_without_work_it_falls_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "STAY_SECONDS", 0.001)
    work = Work(a=1)
    task = await work.run(seconds=0.05)
    work.left[A] = 1
    work.turns.call("t")
    assert work.turns.called.is_set()
    assert work.turns.wake() == [A]
    task.cancel()


async def test_one_that_has_failed_is_woken_again() -> None:
    work = Work(a=1)
    task = await work.run()
    task.cancel()
    work.turns.sleeps("t")
    work.left[A] = 1
    assert work.turns.wake() == [A]


async def test_others_get_a_turn_between_long_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "HOLD_SECONDS", 0.0)
    work, seen = Work(a=1, b=1), []

    async def look() -> None:
        while len(work.given) < 2:
            seen.append(len(work.given))
            await asyncio.sleep(0)

    other, task = asyncio.create_task(look()), await work.run()
    await asyncio.wait_for(other, 5)
    assert 1 in seen
    task.cancel()


async def test_an_agent_of_ordinary_topics_gets_faust_s_stream() -> None:
    app = App("unit", broker="kafka://127.0.0.1:1")
    app.engine = cast(Any, SimpleNamespace(sources={"t": None}))

    async def reading(stream: Any) -> None:
        async for _ in stream:
            pass

    assert app.agent(app.topic("a", "b"), name="ordinary")(reading).fun is reading
    assert app.agent(app.channel(), name="channel")(reading).fun is reading
    batched = app.agent(app.topic("t"), name="batched")(reading)
    assert batched.fun is not reading
    assert unwrap(batched.fun) is reading
    app._check_agents()


async def test_an_agent_of_batches_reads_no_other_topic() -> None:
    app = App("unit", broker="kafka://127.0.0.1:1")
    app.engine = cast(Any, SimpleNamespace(sources={"t": None}))

    @app.agent(app.topic("t", "other"), name="both")
    async def both(batches: Any) -> None: ...

    with pytest.raises(ImproperlyConfigured, match=r"t is read in batches, .* nothing else; it has: .*both"):
        app._check_agents()
