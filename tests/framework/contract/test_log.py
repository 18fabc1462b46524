"""What the state needs of a log; memory and Kafka must both pass."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from millstream.kafka.topics import TopicSpec, ensure
from millstream.state.errors import TooLargeError
from millstream.state.kafka_log import KafkaLog
from millstream.state.log import Entry, Log, LogRecord
from tests.framework.memory_log import MemoryLog

COMMIT_BYTES = 1_000_000


async def new_topic(kafka: str) -> tuple[str, TopicPartition]:
    topic = f"log-{uuid4().hex}"
    configs = {"cleanup.policy": "compact", "max.message.bytes": str(COMMIT_BYTES + 100_000)}
    await ensure(kafka, [TopicSpec(topic, 2, 1, configs)])
    return topic, TopicPartition(topic, 1)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    if request.param == "memory":
        yield MemoryLog(max_entries=100_000)
        return
    kafka = request.getfixturevalue("kafka")
    _, partition = await new_topic(kafka)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=COMMIT_BYTES,
        max_request_size=2 * COMMIT_BYTES,
    )
    await producer.start()
    try:
        yield KafkaLog(lambda: producer, kafka, partition, "")
    finally:
        await producer.stop()


def entries(first: int, count: int) -> list[Entry]:
    return [Entry(b"k%d" % n, b"v%d" % n, []) for n in range(first, first + count)]


async def read(log: Log, start: int, end: int) -> list[Any]:
    return [record async for records in log.read(start, end) for record in records]


async def test_starts_empty(log: Log) -> None:
    assert await log.start() == 0
    assert await log.append(entries(0, 1)) == 0


async def test_offsets_follow_each_other(log: Log) -> None:
    assert await log.append(entries(0, 3)) == 0
    assert await log.append(entries(3, 2)) == 3
    assert await log.append(entries(5, 1)) == 5


async def test_reads_back_what_was_appended(log: Log) -> None:
    await log.append([Entry(b"a", b"1", []), Entry(b"b", None, [("epoch", b"x")]), Entry(b"\0", b"", [])])
    found = [(r.offset, r.key, r.value, list(r.headers)) for r in await read(log, 0, 3)]
    assert found == [(0, b"a", b"1", []), (1, b"b", None, [("epoch", b"x")]), (2, b"\0", b"", [])]


@pytest.mark.parametrize(("start", "end"), [(0, 20), (7, 13), (19, 20), (5, 5)])
async def test_reads_exactly_the_range(log: Log, start: int, end: int) -> None:
    for n in range(0, 20, 4):
        await log.append(entries(n, 4))
    assert [r.offset for r in await read(log, start, end)] == list(range(start, end))


async def test_too_large_appends_nothing(log: Log) -> None:
    big = [Entry(b"%d" % n, b"0" * 10, []) for n in range(100_001)]
    with pytest.raises(TooLargeError):
        await log.append(big)
    assert await log.append(entries(0, 1)) == 0


async def test_appends_at_once_do_not_mix(log: Log) -> None:
    bases = await asyncio.gather(*(log.append(entries(n * 10, 10)) for n in range(8)))
    records: Iterator[LogRecord] = iter(await read(log, 0, 80))
    for base, n in sorted(zip(bases, range(8), strict=True)):
        for i in range(10):
            record = next(records)
            assert (record.offset, record.key) == (base + i, b"k%d" % (n * 10 + i))


@pytest.mark.kafka
async def test_kafka_log_with_control_records_is_read_to_its_end(kafka: str) -> None:
    topic, partition = await new_topic(kafka)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, transactional_id=f"t-{uuid4().hex}")
    await producer.start()
    try:
        for n in range(3):
            async with producer.transaction():
                await producer.send(topic, b"v%d" % n, key=b"k%d" % n, partition=1)
        with suppress(ZeroDivisionError):
            async with producer.transaction():
                await producer.send(topic, b"aborted", key=b"k", partition=1)
                await producer.flush()
                raise ZeroDivisionError
    finally:
        await producer.stop()
    log = KafkaLog(lambda: producer, kafka, partition, "")
    # Each transaction has left a control record; the last of them is the end of the log.
    assert [r.offset for r in await read(log, 0, 8)] == [0, 2, 4, 6]


@pytest.mark.kafka
async def test_kafka_log_that_was_truncated_begins_later(kafka: str) -> None:
    topic, partition = await new_topic(kafka)
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        log = KafkaLog(lambda: producer, kafka, partition, "")
        for n in range(5):
            await log.append(entries(n, 1))
        # Kafka refuses it where a topic is only compacted.
        policy = ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "compact,delete"})
        await admin.alter_configs([policy])
        await admin.delete_records({partition: RecordsToDelete(before_offset=3)})
        assert await log.start() == 3
        assert [r.offset for r in await read(log, 3, 5)] == [3, 4]
        with pytest.raises(OffsetOutOfRangeError):
            await read(log, 0, 5)
        await admin.delete_records({partition: RecordsToDelete(before_offset=5)})
        assert await log.start() == await log.append(entries(5, 1)) == 5
    finally:
        await admin.close()
        await producer.stop()
