"""Which heartbeats prove that a worker still owns its partitions."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError
from faust.types import TP

from millstream.kafka.group import now
from tests.framework.hazards.consumers import T, millstream

OTHER = TP("ordinary", 0)


class Coordinator:
    """What Kafka answers to the next heartbeat; `rejoin` as aiokafka does when a rebalance begins."""

    def __init__(self) -> None:
        self.answer: bool | Exception = True
        self.rejoin = False
        self.seconds = 0.0
        self._rejoin_needed_fut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.group_id, self.generation, self.member_id, self.coordinator_id = "group", 7, "member", 0
        self._client = self
        self._subscription = SubscriptionState()
        self.code = 0

    async def send(self, node: int, request: Any, *, group: Any) -> Any:
        return SimpleNamespace(error_code=self.code)

    async def _do_rejoin_group(self, subscription: Any) -> bool:
        raise NotImplementedError

    async def _do_heartbeat(self) -> bool:
        await asyncio.sleep(self.seconds)
        if self.rejoin:
            self._rejoin_needed_fut.set_result(None)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def started() -> tuple[Any, Coordinator, Any]:
    """Return lease, coordinator and thread of a worker that has not sent a heartbeat yet."""
    consuming = millstream(0)
    thread, coordinator = consuming.consumer._thread, Coordinator()

    async def start() -> None:
        """Connect to no Kafka."""

    thread._create_consumer = lambda loop: SimpleNamespace(_coordinator=coordinator, start=start)
    await thread.on_start()
    thread.thread_loop.close()
    return consuming.app.engine.lease, coordinator, thread


async def test_a_good_heartbeat_renews_the_lease() -> None:
    lease, coordinator, _ = await started()
    assert not lease.holds
    assert await coordinator._do_heartbeat()
    assert lease.holds


@pytest.mark.parametrize("answer", [False, KafkaError("away")])
async def test_one_that_fails_does_not(answer: bool | Exception) -> None:
    lease, coordinator, _ = await started()
    coordinator.answer = answer
    with suppress(KafkaError):
        assert await coordinator._do_heartbeat() is False
    assert not lease.holds


async def test_one_that_tells_of_a_rebalance_does_not() -> None:
    lease, coordinator, _ = await started()
    coordinator.rejoin = True
    assert await coordinator._do_heartbeat()
    assert not lease.holds


async def test_it_counts_from_when_it_was_sent() -> None:
    lease, coordinator, thread = await started()
    coordinator.seconds = 0.2
    sent = now()
    assert await coordinator._do_heartbeat()
    conf = thread.app.conf
    assert lease._until <= sent + 0.1 + min(conf.broker_session_timeout, conf.broker_rebalance_timeout)
    assert lease.age >= 0.19  # the loop sleeps by another clock


async def test_one_keeps_a_member_that_fetches_nothing_by_itself() -> None:
    _, coordinator, _ = await started()
    coordinator._subscription._last_fetch_ended -= 1000
    assert coordinator._subscription.fetcher_idle_time >= 1000
    await coordinator._do_heartbeat()
    assert coordinator._subscription.fetcher_idle_time < 10


@pytest.mark.parametrize("code", [0, 25])  # 25: it is no member
async def test_an_assignment_is_followed_by_a_heartbeat_at_once(code: int) -> None:
    lease, coordinator, thread = await started()
    coordinator.code = code
    assigned = []

    async def assign(loop: object, partitions: set[Any], generation: int) -> None:
        assigned.append((partitions, generation))
        await asyncio.sleep(0)

    thread.consumer.threadsafe_partitions_assigned = assign
    paused: list[Any] = []
    thread._ensure_consumer().pause = lambda *partitions: paused.extend(partitions)
    await thread.on_partitions_assigned({T, OTHER}, 7)
    await thread._beating
    assert (lease.holds, assigned) == (code == 0, [({T, OTHER}, 7)])
    assert paused == [T]  # these Millstream fetches itself
    # What the answer means, the coordinator finds out by itself: it may have joined again by now.
    assert not coordinator._rejoin_needed_fut.done()
