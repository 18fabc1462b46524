"""What is asked of which leader, and where the answers go."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.errors import KafkaError, NotLeaderForPartitionError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.engine import fetcher
from millstream.engine.fetch_buffer import FetchBuffer
from millstream.engine.fetcher import BUSY_MS, IDLE_MS, Fetcher
from millstream.kafka.fetch import Answer
from tests.framework.unit.test_fetch_buffer import answer, offsets, record_batch

A, B, C = (TP("t", number) for number in range(3))
ParsedRequest = tuple[int, dict[TopicPartition, int], int]


class Partition:
    def __init__(self) -> None:
        self.buffer = FetchBuffer()
        self.busy = False

    @property
    def full(self) -> bool:
        return self.busy or self.buffer.full(1000)


class Kafka:
    """Two leaders: 1 has the partitions 0 and 1, and 2 has 2. Each answers when it is told to.

    Attributes:
        asked: what they were asked for: leader, offsets, and how long they may wait.
        refreshed: how often who leads was asked for.
    """

    def __init__(self) -> None:
        self.asked: list[ParsedRequest] = []
        self.refreshed = 0
        self.leaders = {0: 1, 1: 1, 2: 2}
        self._answers: dict[int, asyncio.Future[Mapping[TP, Answer]]] = {}

    def by_leader(self, partitions: Any) -> dict[int, list[TopicPartition]]:
        found: dict[int, list[TopicPartition]] = {}
        for tp in partitions:
            if tp.partition in self.leaders:
                found.setdefault(self.leaders[tp.partition], []).append(tp)
        return found

    async def refresh(self) -> None:
        self.refreshed += 1

    async def ask(self, node: int, offsets: Mapping[TopicPartition, int], *, wait_ms: int) -> Any:
        self.asked.append((node, dict(offsets), wait_ms))
        self._answers[node] = asyncio.get_running_loop().create_future()
        return await self._answers[node]

    async def answer(self, node: int, answers: Mapping[TP, Answer]) -> None:
        self._answers[node].set_result(answers)
        await asyncio.sleep(0.02)


class Running:
    """Partitions that are fetched from."""

    def __init__(self, kafka: Kafka, *tps: TP) -> None:
        self.kafka = kafka
        self.partitions = {tp: Partition() for tp in tps}
        self.called: list[str] = []
        self.fetcher = Fetcher(lambda: "", ["t"], self.partitions, self.called.append)

    async def __aenter__(self) -> "Running":
        self.fetcher.start()
        await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fetcher.stop()

    async def look(self) -> None:
        self.fetcher.room.set()
        await asyncio.sleep(0.02)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    made = Kafka()

    @asynccontextmanager
    async def connect(*_: object) -> AsyncIterator[Kafka]:
        yield made

    monkeypatch.setattr(fetcher, "connect", connect)
    monkeypatch.setattr(fetcher, "RETRY_SECONDS", 0.005)
    return made


async def test_what_comes_is_added_and_the_next_is_asked_for(kafka: Kafka) -> None:
    async with Running(kafka, A, B) as running:
        await kafka.answer(1, {A: answer(record_batch(0, 10)), B: answer()})
        assert kafka.asked == [(1, {A: 0, B: 0}, IDLE_MS), (1, {A: 10, B: 0}, IDLE_MS)]
        assert running.called == ["t"]
        assert offsets(running.partitions[A].buffer.take(100)) == list(range(10))


async def test_no_leader_waits_for_another(kafka: Kafka) -> None:
    async with Running(kafka, A, C):
        await kafka.answer(2, {C: answer(record_batch(0, 10))})  # 1 has not answered
        assert kafka.asked[2:] == [(2, {C: 10}, IDLE_MS)]


async def test_a_full_partition_is_left_out_and_the_others_wait_for_it_shortly(kafka: Kafka) -> None:
    async with Running(kafka, A, B) as running:
        running.partitions[A].busy = True
        await kafka.answer(1, {A: answer(), B: answer()})
        assert running.called == []  # there is nothing to do
        assert kafka.asked[1:] == [(1, {B: 0}, BUSY_MS)]
        running.partitions[A].busy = False
        await running.look()
        assert len(kafka.asked) == 2  # one request at a time
        await kafka.answer(1, {B: answer()})
        assert kafka.asked[2:] == [(1, {A: 0, B: 0}, IDLE_MS)]


async def test_nothing_is_asked_for_while_all_are_full(kafka: Kafka) -> None:
    running = Running(kafka, A)
    running.partitions[A].busy = True
    async with running:
        assert kafka.asked == []
        running.partitions[A].busy = False
        await running.look()
        assert len(kafka.asked) == 1


async def test_what_was_asked_for_before_a_move_is_dropped(kafka: Kafka) -> None:
    async with Running(kafka, A) as running:
        running.partitions[A].buffer.move(50)
        await kafka.answer(1, {A: answer(record_batch(0, 10))})
        assert not running.partitions[A].buffer
        assert kafka.asked[1:] == [(1, {A: 50}, IDLE_MS)]


async def test_what_comes_for_an_earlier_owner_of_the_partition_is_dropped(kafka: Kafka) -> None:
    async with Running(kafka, A) as running:
        running.partitions[A] = Partition()  # its generation is that of the first, too
        await kafka.answer(1, {A: answer(record_batch(0, 10))})
        assert not running.partitions[A].buffer


async def test_an_error_that_passes_is_waited_for(kafka: Kafka) -> None:
    async with Running(kafka, A) as running:
        await kafka.answer(1, {A: Answer(b"", -1, NotLeaderForPartitionError())})
        assert running.partitions[A].buffer.failure is None
        assert kafka.asked[1:] == [(1, {A: 0}, IDLE_MS)]


async def test_an_error_that_stays_is_the_partitions(kafka: Kafka) -> None:
    lost = OffsetOutOfRangeError()
    async with Running(kafka, A, B) as running:
        await kafka.answer(1, {A: Answer(b"", -1, lost), B: answer(record_batch(0, 10))})
        assert running.partitions[A].buffer.failure is lost
        assert running.called == ["t", "t"]
        assert len(running.partitions[B].buffer) == 10


async def test_so_is_a_corrupt_batch(kafka: Kafka) -> None:
    bad = record_batch(0, 10)
    bad[-1] ^= 1
    async with Running(kafka, A) as running:
        await kafka.answer(1, {A: answer(bad)})
        assert "corrupt" in str(running.partitions[A].buffer.failure)


async def test_who_leads_is_asked_for_until_it_is_known(kafka: Kafka) -> None:
    del kafka.leaders[2]
    async with Running(kafka, A, C):
        await asyncio.sleep(0.02)
        assert kafka.refreshed > 0
        assert [node for node, _, _ in kafka.asked] == [1]
        kafka.leaders[2] = 2
        await asyncio.sleep(0.02)
        assert [node for node, _, _ in kafka.asked] == [1, 2]


async def test_a_failure_is_logged_and_fetching_begins_again(
    kafka: Kafka, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> None:
        kafka.ask = asked  # type: ignore[method-assign]
        raise KafkaError("a bug")

    asked, kafka.ask = kafka.ask, fail  # type: ignore[assignment,method-assign]
    async with Running(kafka, A) as running:
        async with asyncio.timeout(10):
            while not kafka.asked:
                await running.look()
        assert len(kafka.asked) == 1
    assert "KafkaError('a bug')" in caplog.text
