"""The typed producer on a real Kafka: confirmed, keyed as Kafka's own clients do, nothing invalid sent."""

import json
import os
import uuid
from typing import Annotated, Any

import faust
import pytest
from aiokafka.errors import KafkaConnectionError
from msgspec import Meta

from millstream import DeclarationError, EventTime, Producer, twin
from millstream.kafka.partitioner import partition_for
from millstream.kafka.reading import records
from millstream.kafka.topics import TopicSpec, ensure
from millstream.producer import Delivery, DeliveryError, InvalidValueError

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


class Order(faust.Record):
    order_id: str
    customer: Annotated[str, Meta(min_length=1)]
    at: EventTime
    pieces: Annotated[int, Meta(ge=1, le=10)] = 1


@pytest.fixture
async def topic(kafka: str) -> str:
    name = f"orders-{uuid.uuid4().hex[:8]}"
    await ensure(kafka, [TopicSpec(name, 3, 1, {"cleanup.policy": "delete", "max.message.bytes": "100000"})])
    return name


def order(n: int) -> dict[str, Any]:
    return {"order_id": f"o{n}", "customer": f"c{n % 7}", "at": 1_700_000_000 + n}


async def test_records_twins_and_dictionaries_are_confirmed_in_the_partition_of_their_key(
    kafka: str, topic: str
) -> None:
    async with Producer(topic, Order, key="customer", bootstrap_servers=kafka) as producer:
        one = await producer.send(Order(**order(0)))
        two = await producer.send(twin(Order)(**order(1)))
        three = await producer.send(order(2))
        many = await producer.send_many(order(n) for n in range(3, 2000))
        called: list[Any] = []
        for n in range(2000, 2100):
            await producer.post(order(n), called.append)
        await producer.flush()
    deliveries = [one, two, three, *many, *called]
    assert all(isinstance(delivery, Delivery) for delivery in deliveries)
    assert len({delivery[1:] for delivery in deliveries}) == 2100
    for n, delivery in enumerate([one, two, three, *many]):
        assert delivery.partition == partition_for(f"c{n % 7}".encode(), 3)
    found = [record async for record in records(kafka, topic)]
    assert len(found) == 2100
    for partition in range(3):  # each key's records are in their order
        numbers = [json.loads(one.value)["at"] for one in found if one.partition == partition]
        assert numbers == sorted(numbers)


async def test_what_is_invalid_is_refused_and_nothing_is_sent(kafka: str, topic: str) -> None:
    async with Producer(topic, Order, key="customer", bootstrap_servers=kafka) as producer:
        for wrong, says in (
            ({**order(0), "pieces": 11}, r"this is no Order \(out-of-range\): Expected `int` <= 10"),
            ({"order_id": "o"}, "missing-field"),
            ({**order(0), "at": object()}, "cannot be sent"),
        ):
            with pytest.raises(InvalidValueError, match=says):
                await producer.send(wrong)
        with pytest.raises(InvalidValueError):
            await producer.send_many([order(0), {"order_id": "o"}])
        await producer.flush()
    assert [record async for record in records(kafka, topic)] == []


async def test_errors_say_what_to_do(kafka: str, topic: str) -> None:
    with pytest.raises(DeclarationError, match="Order has no field 'client'"):
        Producer(topic, Order, key="client")
    with pytest.raises(KafkaConnectionError):
        async with Producer(topic, Order, key="customer", bootstrap_servers="127.0.0.1:1"):
            pass
    closed = Producer(topic, Order, key="customer", bootstrap_servers=kafka)
    with pytest.raises(RuntimeError, match="not connected"):
        await closed.send(order(0))


async def test_a_record_that_kafka_refuses_is_an_error_of_its_own(kafka: str, topic: str) -> None:
    called: list[Any] = []
    async with Producer(
        topic, Order, key="customer", bootstrap_servers=kafka, max_bytes=5_000_000
    ) as producer:
        large = {**order(0), "order_id": os.urandom(2_000_000).hex()}
        await producer.post(large, called.append)
        await producer.flush()  # the callback has the error
        assert isinstance(called[0], DeliveryError)
        await producer.post(large)
        with pytest.raises(DeliveryError):
            await producer.flush()
        assert isinstance(await producer.send(order(1)), Delivery)
        await producer.flush()  # it is told once
    with pytest.raises(DeliveryError):
        async with Producer(
            topic, Order, key="customer", bootstrap_servers=kafka, max_bytes=5_000_000
        ) as last:
            await last.post(large)
