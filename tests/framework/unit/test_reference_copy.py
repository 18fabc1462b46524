"""A worker's copy of a reference topic: versions, and how it is read."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecord
from aiokafka.structs import TopicPartition

from millstream.engine import reference_copies
from millstream.engine.reference_copies import References
from millstream.kafka.fetch import LATEST, Fetched
from millstream.serde.json import Decoder
from millstream.tables.reference import Reference, ReferenceCopy
from tests.framework.unit.test_reference import HOUR, NOW, Price


def prices() -> Reference[Price]:
    decoder = Decoder(Price, max_bytes=1000, max_future=timedelta.max, time_field=None)
    return Reference("prices", "prices", record=Price, key="code", decode=decoder.many)


def copy_of(versions: list[tuple[int, str, int | None, float]], now: list[float]) -> ReferenceCopy:
    """Make a copy of offset, key, price and time each."""
    copy = ReferenceCopy(prices(), lambda: now[0])
    for offset, code, price, at in versions:
        value = None if price is None else b'{"code":"%s","price":%d}' % (code.encode(), price)
        copy.apply(0, [DefaultRecord(offset, int(at * 1000), 1, code.encode(), value, [])], offset + 1)
    return copy


def looked_up(copy: ReferenceCopy, key: str, offset: int, gone: list[str]) -> int | None:
    found = copy.as_of(key, {0: offset}, gone.append)
    return None if found is None else int(found.price)


def test_versions_are_kept_for_an_hour() -> None:
    now, gone = [NOW], list[str]()
    copy = copy_of(
        [(0, "a", 1, NOW - 9), (1, "b", 1, NOW - 9), (2, "a", 2, NOW - 5), (3, "a", None, NOW)], now
    )
    assert [looked_up(copy, "a", offset, gone) for offset in range(5)] == [None, 1, 1, 2, None]
    assert (copy.keys, gone) == (1, [])
    now[0] += HOUR - 2  # `2` is older than an hour, the deletion is not
    copy.apply(0, [], 4)
    assert [looked_up(copy, "a", offset, gone) for offset in range(5)] == [2, 2, 2, 2, None]
    assert set(gone) == {"a"}
    now[0] += 2
    copy.apply(0, [], 4)
    assert set(copy._versions) == {"b"}
    assert copy._replaced == []


def test_a_key_that_is_new_was_not_there() -> None:
    gone = list[str]()
    copy = copy_of([(5, "a", 1, NOW - 10)], [NOW])
    assert looked_up(copy, "a", 5, gone) is None
    # Of this one Kafka may have forgotten an earlier value.
    copy = copy_of([(5, "a", 1, NOW - HOUR)], [NOW])
    assert looked_up(copy, "a", 5, gone) == 1
    assert gone == ["a"]


class FakeKafka:
    """One topic of two partitions, that is fetched from as `millstream.kafka.fetch.Reader` does."""

    def __init__(self) -> None:
        self.records: list[list[Any]] = [[], []]
        self.ends = [0, 0]

    def put(self, partition: int, code: str, price: int) -> None:
        value = b'{"code":"%s","price":%d}' % (code.encode(), price)
        offset = self.ends[partition]
        self.records[partition].append(DefaultRecord(offset, int(NOW * 1000), 1, code.encode(), value, []))
        self.ends[partition] += 1

    @asynccontextmanager
    async def connect(self, bootstrap: str, topics: list[str]) -> AsyncIterator[Any]:
        yield self

    async def partitions(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, 0), TopicPartition(topic, 1)]

    async def offsets(self, partitions: list[TopicPartition], which: int) -> dict[TopicPartition, int]:
        return {tp: self.ends[tp.partition] if which == LATEST else 0 for tp in partitions}

    async def fetch(self, offsets: dict[TopicPartition, int], *, wait_ms: int) -> dict[Any, Fetched]:
        await asyncio.sleep(0)
        brought = {}
        for tp, start in offsets.items():
            if start > self.ends[tp.partition]:
                raise KafkaError("out of range")
            records = [record for record in self.records[tp.partition] if record.offset >= start][:2]
            following = records[-1].offset + 1 if records else start
            brought[tp] = Fetched(records, following, self.ends[tp.partition])
        return brought


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0.001)


async def test_a_copy_is_ready_when_all_is_read_and_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = FakeKafka()
    monkeypatch.setattr(reference_copies, "connect", kafka.connect)
    monkeypatch.setattr(reference_copies, "RETRY_SECONDS", 0.01)
    for n in range(9):
        kafka.put(n % 2, f"c{n}", n)
    kafka.ends[0] += 5  # what was compacted away at the end
    references = References(str, time.time)
    copy = references.of(prices())
    async with asyncio.timeout(10):
        await copy.ready.wait()
        assert (copy.keys, copy.next) == (9, {0: 5, 1: 4})
        kafka.put(1, "c9", 9)
        await until(lambda: copy.keys == 10)
        kafka.records, kafka.ends = [[], []], [0, 0]  # it is made anew
        kafka.put(0, "c0", 100)
        await until(lambda: copy.next == {0: 1, 1: 0})
        await copy.ready.wait()
    assert copy.keys == 1
    found = copy.newest("c0")
    assert found is not None
    assert found.value.price == 100
    await references.close()
