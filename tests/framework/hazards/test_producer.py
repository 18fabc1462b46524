"""Hazards of Faust's producer: what counts as sent."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import faust
import pytest
from aiokafka.producer.sender import SendProduceReqHandler
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver

from millstream.engine.committing import Committing
from millstream.engine.counters import BatchStatistics, Counters
from millstream.engine.cursor import Cursor
from millstream.engine.staging import Staged
from millstream.engine.tracing import NoTracer
from millstream.kafka.producer import Producer
from millstream.state.log import Position
from millstream.state.replica import Changes
from tests.framework.hazards.consumers import plain as plain_consumer
from tests.framework.hazards.plain import both

pytestmark = pytest.mark.timeout(30)

SLOW = 0.3
Run = Callable[[], Awaitable[bool]]


async def flushed() -> bool:
    """Return whether all is sent after plain Faust's flush, which it relies on before a commit."""
    app = faust.App("plain", broker="kafka://127.0.0.1:1")
    buffer = driver.Producer(app.transport).buffer
    sent = []

    async def send(pending: Any) -> None:
        await asyncio.sleep(SLOW)
        sent.append(pending)

    buffer._send_pending = send
    await buffer.start()
    for n in range(3):
        buffer.put(n)
    await buffer.flush()
    done = len(sent)
    for task in buffer._futures:
        task.cancel()
    return done == 3


class State:
    """A state that takes note of its commits."""

    def __init__(self) -> None:
        self.committed = 0

    async def commit(self, changes: object, position: Position) -> None:
        self.committed = position.offsets["t"]

    def applied(self, staged: object) -> None:
        """Nothing is staged here."""


def committing(delivery: asyncio.Future[Any]) -> tuple[State, asyncio.Task[None]]:
    """Let a real partition commit a batch with one output."""
    cursor = Cursor(cast(Any, SimpleNamespace(topic="t")), 0, 1)
    cursor.state = cast(Any, State())
    committing = Committing(
        cursor,
        cast(Any, None),
        Counters(),
        tick=lambda: asyncio.sleep(0.025),
        clock=time.time,
        tracer=NoTracer,
        committed=lambda: None,
    )
    committing.queue.add(Staged(Changes(), {}, [delivery], 5, 0.0, 0, (0, 0, 0), BatchStatistics()))
    return cast(State, cursor.state), asyncio.create_task(committing.run())


async def waited() -> bool:
    """Return whether Millstream commits a batch after its outputs, however long they take, and not before."""
    delivery: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    state, task = committing(delivery)
    await asyncio.sleep(SLOW)
    before = state.committed
    delivery.set_result(None)
    await asyncio.sleep(0.05)
    task.cancel()
    return (before, state.committed) == (0, 5)


@pytest.mark.parametrize("run", both(flushed, waited, "flush gives up after 100 ms without progress"))
async def test_what_is_slow_to_send_is_waited_for(run: Run) -> None:
    assert await run()


async def logged() -> bool:
    """Return whether plain Faust commits no event whose output could not be sent."""
    with plain_consumer(0) as consuming:
        app = consuming.app
        failed = asyncio.get_running_loop().create_future()
        failed.set_exception(RuntimeError("not sent"))

        async def send(*_: Any, **__: Any) -> Any:
            return failed

        app.producer.send = send

        async def started() -> Any:
            return app.producer

        app.maybe_start_producer = started
        topic = app.topic("out")
        message = topic.as_future_message(key=b"k", value=b"v")
        await topic.publish_message(message)
        await asyncio.sleep(0)
        message.exception()  # in an agent nobody looks at it; here asyncio would complain
        consuming.ack(0)
        await consuming.consumer.commit()
        return consuming.committed == []


async def raised() -> bool:
    """Return whether Millstream commits no batch with an output that could not be sent, and begins again."""
    delivery: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    delivery.set_exception(RuntimeError("not sent"))
    state, task = committing(delivery)
    await asyncio.wait([task], timeout=1)
    return state.committed == 0 and isinstance(task.exception(), RuntimeError)


@pytest.mark.parametrize("run", both(logged, raised, "a failed send is logged, and its event committed"))
async def test_what_could_not_be_sent_is_not_done(run: Run) -> None:
    assert await run()


@pytest.mark.parametrize(
    "kind",
    both(driver.Producer, Producer, "a broker gets one request at a time, and the next waits for its answer"),
)
async def test_a_batch_waits_for_no_batch_of_another_partition(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, answered = [], asyncio.Event()

    async def send(handler: Any, _: int) -> None:
        sent.append([tp.partition for tp in handler._batches])
        await answered.wait()

    monkeypatch.setattr(SendProduceReqHandler, "do", send)
    producer = kind(faust.App("app", broker="kafka://127.0.0.1:1").transport)._new_producer()
    producer._closed = True  # it never had a connection
    producer._txn_manager = producer._message_accumulator._txn_manager = producer._sender._txn_manager = None
    monkeypatch.setattr(producer._metadata, "leader_for_partition", lambda _: 1)
    await producer._sender.start()
    for partition in (0, 1, 0):
        batch = producer.create_batch()
        batch.append(timestamp=None, key=b"k", value=b"v")
        batch.close()
        await producer._message_accumulator.add_batch(batch, TopicPartition("t", partition), 1.0)
        await asyncio.sleep(0.01)
    before = list(sent)
    answered.set()
    await asyncio.sleep(0.01)
    await producer._sender.close()
    # Only of the same partition does one wait for the other: what it sends is in order.
    assert (before, sent) == ([[0], [1]], [[0], [1], [0]])
