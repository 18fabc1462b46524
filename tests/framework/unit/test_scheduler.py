"""When an agent is woken, what it is given, and who else gets the event loop."""

import asyncio
from collections.abc import AsyncIterator
from inspect import unwrap
from typing import Any, cast

import faust
import pytest
from faust.types import TP

from millstream.app import App
from millstream.engine import scheduler
from millstream.engine.scheduler import Scheduler
from millstream.errors import DeclarationError

A, B, OTHER = TP("t", 0), TP("t", 1), TP("other", 0)


class Partition:
    """A partition with a number of batches."""

    def __init__(self, tp: TP, left: int) -> None:
        self.tp = tp
        self.left = left

    @property
    def has_work(self) -> bool:
        return self.left > 0

    def next_batch(self) -> Any:
        if not self.left:
            return None
        self.left -= 1
        return self.tp


class Work:
    """A number of batches for each partition, and the messages that their agent was sent."""

    def __init__(self, **left: int) -> None:
        self.partitions: dict[TP, Partition] = {}
        for name, count in left.items():
            self.add({"a": A, "b": B, "other": OTHER}[name], count)
        self.scheduler = Scheduler(self.partitions)
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.given: list[TP] = []

    def add(self, tp: TP, left: int) -> None:
        self.partitions[tp] = Partition(tp, left)

    async def agent(self) -> None:
        async for batch in self.scheduler.batches("t", self._stream()):
            self.given.append(cast(Any, batch))

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
    assert work.scheduler.wake() == [A]
    assert work.scheduler.wake() == []  # it has not woken up yet
    task = await work.run()
    assert work.given == [A, B, A]
    task.cancel()


async def test_each_topic_has_an_agent_of_its_own() -> None:
    assert Work(a=1, b=1, other=1).scheduler.wake() == [A, OTHER]


async def test_nobody_is_woken_for_nothing() -> None:
    assert Work(a=0).scheduler.wake() == []


async def test_a_message_that_was_lost_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(a=1)
    assert work.scheduler.wake() == [A]
    monkeypatch.setattr(scheduler, "LOST_SECONDS", 0.0)
    assert work.scheduler.wake() == [A]


async def test_one_that_is_awake_needs_no_message() -> None:
    work = Work(a=1)
    task = await work.run()
    work.add(B, 1)
    assert work.scheduler.wake() == []
    work.scheduler.notify("t")
    await asyncio.sleep(0.01)
    assert work.given == [A, B]
    assert not work.scheduler.notified.is_set()
    work.scheduler.notify("other")
    assert work.scheduler.notified.is_set()  # that one sleeps
    task.cancel()


async def test_without_work_it_falls_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "STAY_SECONDS", 0.001)
    work = Work(a=1)
    task = await work.run(seconds=0.05)
    work.add(A, 1)
    work.scheduler.notify("t")
    assert work.scheduler.notified.is_set()
    assert work.scheduler.wake() == [A]
    task.cancel()


async def test_one_that_has_failed_is_woken_again() -> None:
    work = Work(a=1)
    task = await work.run()
    task.cancel()
    work.scheduler.sleep("t")
    work.add(A, 1)
    assert work.scheduler.wake() == [A]


async def test_others_run_between_long_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "HOLD_SECONDS", 0.0)
    work, seen = Work(a=1, b=1), []

    async def look() -> None:
        while len(work.given) < 2:
            seen.append(len(work.given))
            await asyncio.sleep(0)

    other, task = asyncio.create_task(look()), await work.run()
    await asyncio.wait_for(other, 5)
    assert 1 in seen
    task.cancel()


class Number(faust.Record):
    key: str
    timestamp: float


@pytest.fixture
def app() -> App:
    app = App("unit", agents=(), broker="kafka://127.0.0.1:1")
    app.source_topic("t", Number, key="key", dead_letters="t.dead-letters")
    return app


async def test_an_agent_of_ordinary_topics_gets_faust_s_stream(app: App) -> None:
    async def reading(stream: Any) -> None:
        async for _ in stream:
            pass

    assert app.agent(app.topic("a", "b"), name="ordinary")(reading).fun is reading
    assert app.agent(app.channel(), name="channel")(reading).fun is reading
    batched = app.agent(app.topic("t"), name="batched")(reading)
    assert batched.fun is not reading
    assert unwrap(batched.fun) is reading
    app._check_agents()


async def test_an_agent_of_batches_reads_no_other_topic(app: App) -> None:
    @app.agent(app.topic("t", "other"), name="both")
    async def both(batches: Any) -> None: ...

    with pytest.raises(DeclarationError, match=r"t is read in batches, .* nothing else; it has: .*both"):
        app._check_agents()
