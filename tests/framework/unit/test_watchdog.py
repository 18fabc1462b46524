"""What the watchdog takes for standing still. Blocked loops and hanging agents: tests/integration."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.observability.watchdog import Watchdog

T = TP("t", 0)
LIMIT = 0.2


class Thread:
    """Faust's consumer thread, or one that is dead or does not answer."""

    def __init__(self, *, alive: bool = True, answers: bool = True) -> None:
        self._thread = SimpleNamespace(is_alive=lambda: alive)
        self._answers = answers

    async def call_thread(self, what: Any) -> None:
        await (what() if self._answers else asyncio.sleep(60))


class Ends:
    """What Kafka says of the ends of the partitions."""

    def __init__(self, end: int) -> None:
        self.end = end

    async def offsets(self, partitions: Any, which: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, self.end)


def engine(**more: Any) -> Any:
    partition = SimpleNamespace(name="t/0", committed=10, restore_progress=None)
    app = SimpleNamespace(consumer=SimpleNamespace(_thread=more.pop("thread", Thread())))
    lease = SimpleNamespace(holds=True)
    return SimpleNamespace(partitions={T: partition}, at_work=True, lease=lease, app=app, ends={}, **more)


async def look(watched: Any, end: int, *, times: int = 3, each: Any = None) -> str | None:
    """Look several times, for longer than the limit in all."""
    watchdog, why = Watchdog(watched, LIMIT), None
    for n in range(times):
        if each is not None:
            each(n)
        why = why or await watchdog._stands_still(cast(Any, Ends(end)))
        await asyncio.sleep(LIMIT * 0.7)
    return why


async def test_a_partition_without_lag_may_stand_still() -> None:
    assert await look(engine(), 10) is None


async def test_a_partition_with_lag_must_move() -> None:
    why = await look(watched := engine(), 11)
    assert watched.ends == {T: 11}
    assert why is not None
    assert why.startswith("t/0 has stood still")
    assert why.endswith("at offset 10 of 11")


async def test_a_partition_that_moves_is_well() -> None:
    watched = engine()

    def move(n: int) -> None:
        watched.partitions[T].committed += 1

    assert await look(watched, 100, each=move) is None


async def test_a_restore_must_move() -> None:
    watched = engine()
    watched.partitions[T].committed, watched.partitions[T].restore_progress = None, 7
    why = await look(watched, 10)
    assert why is not None
    assert why.endswith("at 7 of its state log")


async def test_a_rebalance_must_end() -> None:
    watched = engine()
    watched.at_work = False
    why = await look(watched, 10)
    assert why is not None
    assert "has not assigned partitions" in why


async def test_the_group_must_answer() -> None:
    watched = engine()
    watched.lease.holds = False
    why = await look(watched, 10)
    assert why is not None
    assert "no heartbeat" in why


async def test_a_heartbeat_may_fail_now_and_then() -> None:
    watched = engine()

    def fail(n: int) -> None:
        watched.lease.holds = n % 2 == 0

    assert await look(watched, 10, times=5, each=fail) is None


@pytest.mark.parametrize("thread", [Thread(alive=False), Thread(answers=False)])
async def test_the_fetch_thread_must_answer(thread: Thread) -> None:
    assert await look(engine(thread=thread), 10, times=1) == "the consumer's thread has not answered for 0 s"


async def test_it_stops() -> None:
    watchdog = Watchdog(engine(sources={}, bootstrap="127.0.0.1:1"), 60)
    watchdog.start()
    await watchdog.stop()
    for thread in threading.enumerate():
        if thread.name == "watchdog":
            thread.join(5)
    assert "watchdog" not in {thread.name for thread in threading.enumerate()}
