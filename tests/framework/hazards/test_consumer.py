"""Hazards of Faust's consumer: what it commits, what it drops, what it costs."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faust.events import Event

from tests.framework.hazards.consumers import (
    GENERATION,
    Consuming,
    T,
    fetched,
    message,
    millstream,
    nothing,
    plain,
)
from tests.framework.hazards.plain import both

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def consuming(request: pytest.FixtureRequest) -> AsyncIterator[Consuming]:
    """A consumer of a kind, and for Millstream before which offset all is done."""
    kind, done = request.param
    with kind(done) as made:
        yield made


@pytest.mark.parametrize(
    "consuming",
    both((plain, 3), (millstream, 3), "a revocation throws away what is acknowledged and not yet committed"),
    indirect=True,
)
async def test_what_is_done_is_committed_before_a_revocation(consuming: Consuming) -> None:
    consuming.ack(0, 1, 2)
    await consuming.consumer.on_partitions_revoked({T})
    assert set(consuming.committed) == {3}


@pytest.mark.parametrize(
    "consuming", both((plain, 1), (millstream, 1), "_new_offset takes a hole of one for none"), indirect=True
)
async def test_nothing_is_committed_past_an_event_in_flight(consuming: Consuming) -> None:
    consuming.ack(0)
    await consuming.consumer.commit()
    consuming.ack(2)  # 1 is in flight
    await consuming.consumer.commit()
    assert consuming.committed == [1]


@pytest.mark.parametrize(
    "consuming",
    both((plain, 5), (millstream, 5), "_add_gap takes the event behind a gap for a part of the gap"),
    indirect=True,
)
async def test_nothing_is_committed_past_an_event_behind_a_gap(consuming: Consuming) -> None:
    consumer = consuming.consumer
    consuming.fetch([fetched(3, 5, 6)])  # 4 was compacted away
    consumer.highwater = lambda _: 10
    await consumer._drain_messages(consumer)
    consuming.ack(3, 6)  # 5 is in flight
    await consumer.commit()
    assert all(offset <= 5 for offset in consuming.committed)


@pytest.mark.parametrize(
    "consuming", both((plain, 0), (millstream, 0), "four tasks for each record"), indirect=True
)
async def test_a_record_costs_no_task(consuming: Consuming) -> None:
    consumer, count = consuming.consumer, 1000
    tasks = 0

    def count_task(loop: Any, coroutine: Any, **options: Any) -> Any:
        nonlocal tasks
        tasks += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    consuming.fetch([fetched(*range(count))])
    consumer.highwater = lambda _: count
    consumer.callback = nothing
    loop = asyncio.get_running_loop()
    loop.set_task_factory(count_task)
    try:
        await consumer._drain_messages(consumer)
    finally:
        loop.set_task_factory(None)
    assert 0 < tasks < count / 10


@pytest.mark.parametrize(
    "consuming",
    both(
        (plain, 1), (millstream, 1), "an event of another generation is dropped without a word and passed by"
    ),
    indirect=True,
)
async def test_an_event_that_no_agent_got_is_not_done(consuming: Consuming) -> None:
    app, got = consuming.app, []
    channel = app.channel()
    stream = app.stream(channel)
    app.flow_control.resume()
    for offset in range(4):
        sent = message(offset, GENERATION - 1 if offset == 1 else GENERATION)
        sent.incref()
        await channel.put(Event(app, None, offset, {}, sent))
    async for value in stream:
        got.append(value)
        if value == 3:
            break
    assert got == [0, 2, 3]  # the stream is Faust's in both
    await consuming.consumer.commit()
    await consuming.consumer.commit()
    assert consuming.committed == [1]
