"""Records taken from what aiokafka's consumer has fetched: all of them, once, from its position on."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record import MemoryRecords
from aiokafka.structs import TopicPartition

from app.engine.fetch import take

TP = TopicPartition("t", 0)
ZSTD = 4


def record_batch(first: int, count: int) -> bytearray:
    builder = BatchBuilder(1 << 20, ZSTD)
    for n in range(first, first + count):
        builder.append(timestamp=n, key=b"k", value=b"%d" % n, headers=[])
    raw = bytearray(builder._build())
    raw[:8] = first.to_bytes(8, "big")  # its first offset; the checksum does not cover it
    return raw


def fetched(raw: bytes, offset: int) -> tuple[FetchResult, Any]:
    part = PartitionRecords(TP, MemoryRecords(raw), None, offset, None, None, True, 0)
    position = SimpleNamespace(position=offset, paused=False)
    position.consumed_to = lambda to: setattr(position, "position", to)
    assignment = SimpleNamespace(active=True, state_value=lambda _: position)
    return FetchResult(TP, assignment=assignment, partition_records=part, backoff=0), position


def test_all_records_are_taken_in_whole_batches() -> None:
    raw = b"".join(bytes(record_batch(first, 10)) for first in (0, 10, 20))
    result, consumer = fetched(raw, 0)
    found = []
    for upto in (20, 30):
        found += [int(record.value) for record in take(result, 15)]
        assert consumer.position == upto
    assert found == list(range(30))
    assert not result.has_more()
    assert take(result, 15) == []


def test_what_lies_before_the_position_is_left_out() -> None:
    result, _ = fetched(bytes(record_batch(0, 10)), 7)
    assert [record.offset for record in take(result, 1)] == [7, 8, 9]


def test_nothing_is_taken_after_the_consumer_was_moved() -> None:
    result, consumer = fetched(bytes(record_batch(0, 10)), 0)
    consumer.position = 5
    assert take(result, 100) == []
    assert not result.has_more()


def test_nothing_is_taken_from_the_middle_of_a_batch_that_aiokafka_has_begun() -> None:
    result, _ = fetched(bytes(record_batch(0, 10)), 0)
    assert len(result.getall(3)) == 3
    with pytest.raises(AssertionError):
        take(result, 100)


def test_a_corrupt_batch_is_an_error_and_nothing_behind_it_is_taken() -> None:
    bad = record_batch(10, 10)
    bad[-1] ^= 1
    result, consumer = fetched(bytes(record_batch(0, 10) + bad + record_batch(20, 10)), 0)
    with pytest.raises(KafkaError, match="corrupt"):
        take(result, 100)
    assert consumer.position == 0
    assert not result.has_more()
