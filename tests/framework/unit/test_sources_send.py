import asyncio
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from millstream.sources import batches
from millstream.sources.batches import SendError
from millstream.sources.record import Record, SourceError
from millstream.sources.send import send

kafka = pytest.importorskip("confluent_kafka", reason="the mock cluster is in confluent-kafka (extra `mock`)")


class Mock:
    """librdkafka's cluster in memory, and what it holds, read by librdkafka's own consumer."""

    def __init__(self) -> None:
        self._holder = kafka.Producer(
            {"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 0}
        )
        broker = next(iter(self._holder.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def topic(self, name: str) -> str:
        self._holder.list_topics(name, timeout=10)
        return name

    def read(self, topic: str) -> dict[int, list[tuple[bytes | None, bytes | None]]]:
        consumer = kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": "t", "log_level": 0, "fetch.wait.max.ms": 10}
        )
        found: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
        try:
            partitions = sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
            places = [kafka.TopicPartition(topic, partition, 0) for partition in partitions]
            left = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
            consumer.assign(places)
            found = {partition: [] for partition in partitions}
            while left:
                message = consumer.poll(10)
                assert message is not None
                assert message.error() is None
                found[message.partition()].append((message.key(), message.value()))
                left -= 1
        finally:
            consumer.close()
        return found


@pytest.fixture(scope="module")
def mock() -> Mock:
    return Mock()


@pytest.fixture
def topic(mock: Mock, request: pytest.FixtureRequest) -> str:
    return mock.topic(request.node.name.replace("[", "-").replace("]", ""))


def numbered(count: int, keys: int, size: int = 0) -> Iterator[Record]:
    return (Record(b"key-%d" % (n % keys), b"%d" % n + b" " * size, n / 10) for n in range(count))


async def test_every_record_arrives_in_the_order_of_its_key(mock: Mock, topic: str) -> None:
    # Several batches for each partition.
    sent = await send(numbered(30_000, 37, size=100), bootstrap=mock.address, topic=topic)
    assert (sent.records, sent.stopped) == (30_000, False)
    found = mock.read(topic)
    by_key: dict[bytes | None, list[int]] = defaultdict(list)
    for records in found.values():
        for key, value in records:
            by_key[key].append(int(value or b""))
    assert by_key == {b"key-%d" % key: list(range(key, 30_000, 37)) for key in range(37)}


async def test_a_key_goes_where_kafkas_clients_put_it(mock: Mock, topic: str) -> None:
    await send(numbered(500, 500), bootstrap=mock.address, topic=topic)
    found = mock.read(topic)
    places = sorted(found)
    for partition, records in found.items():
        assert {DefaultPartitioner()(key, places, places) for key, _ in records} <= {partition}


async def test_keyless_records_and_tombstones_arrive(mock: Mock, topic: str) -> None:
    records = [Record(None, b"a", 0), Record(None, b"b", 0), Record(b"k", None, 0), Record(None, b"", 0)]
    await send(records, bootstrap=mock.address, topic=topic)
    found = mock.read(topic)
    assert sorted(chain.from_iterable(found.values()), key=str) == sorted(
        [(r.key, r.value) for r in records], key=str
    )
    assert sum(bool(records) for records in found.values()) > 1


async def test_a_record_larger_than_a_batch_arrives(mock: Mock, topic: str) -> None:
    records = [
        Record(b"k", b"small", 0),
        Record(b"k", b"x" * 2 * batches.BATCH_BYTES, 0),
        Record(b"k", b"end", 0),
    ]
    await send(records, bootstrap=mock.address, topic=topic)
    assert [value for _, value in chain.from_iterable(mock.read(topic).values())] == [
        record.value for record in records
    ]


async def test_records_leave_when_they_are_due(mock: Mock, topic: str) -> None:
    sent = await send(
        numbered(50, 5),
        bootstrap=mock.address,
        topic=topic,
        due=lambda number, record: record.event_time / 10,
    )
    assert 0.49 <= sent.seconds < 2
    assert sent.records == 50


async def test_stop_ends_a_wait_and_confirms_what_was_taken(mock: Mock, topic: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, stop.set)
    sent = await send(
        numbered(10, 3),
        bootstrap=mock.address,
        topic=topic,
        due=lambda number, _: 0 if number < 4 else 3600,
        stop=stop,
    )
    assert (sent.records, sent.stopped) == (4, True)
    assert sum(map(len, mock.read(topic).values())) == 4


async def test_stop_ends_a_stream_at_full_speed(mock: Mock, topic: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, stop.set)
    sent = await send(numbered(sys.maxsize, 9), bootstrap=mock.address, topic=topic, stop=stop)
    assert sent.stopped
    assert sum(map(len, mock.read(topic).values())) == sent.records


async def test_progress_is_told(mock: Mock, topic: str) -> None:
    told: list[int] = []
    await send(numbered(5000, 9), bootstrap=mock.address, topic=topic, on_progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 5000


async def test_what_came_before_an_error_of_the_source_arrives(mock: Mock, topic: str) -> None:
    def records() -> Iterator[Record]:
        yield from numbered(700, 9)
        raise SourceError("the file ends")

    with pytest.raises(SourceError, match="the file ends"):
        await send(records(), bootstrap=mock.address, topic=topic)
    assert sum(map(len, mock.read(topic).values())) == 700


async def test_an_unknown_topic_says_what_to_run(mock: Mock) -> None:
    with pytest.raises(SendError, match="topic nowhere does not exist: run `millstream topics`"):
        await send([], bootstrap=mock.address, topic="nowhere")


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_no_kafka_is_told_with_its_address(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.sources.send.CONNECT_SECONDS", 0.3)
    begun = time.monotonic()
    with pytest.raises(SendError, match=f"no Kafka answers at {silent}"):
        await send([], bootstrap=silent, topic="t")
    with pytest.raises(SendError, match=r"no Kafka answers at 127\.0\.0\.1:1"):
        await send([], bootstrap="127.0.0.1:1", topic="t")
    assert time.monotonic() - begun < 5


class Refusing:
    """A producer whose batches fail, or are never confirmed."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def create_batch(self) -> Any:
        return BatchBuilder(1000, 0)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        if self.error:
            future.set_exception(self.error)
        return future


async def test_a_refused_batch_is_an_error() -> None:
    out = batches.Batches(Refusing(MessageSizeTooLargeError()), "t", [0])  # type: ignore[arg-type] # a stand-in
    await out.add(Record(b"k", b"v", 0))
    with pytest.raises(SendError, match=r"refused a batch for t, after 0 records.*max\.message\.bytes"):
        await out.confirm()


async def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CONFIRM_SECONDS", 0.1)
    out = batches.Batches(Refusing(None), "t", [0])  # type: ignore[arg-type] # a stand-in
    await out.add(Record(b"k", b"v", 0))
    with pytest.raises(SendError, match="confirmed nothing for 0 s"):
        await out.confirm()
