"""Records of a partition between their fetch and their agent: all of them, once, from its position on."""

from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import TopicPartition

from millstream.engine.fetch_buffer import FetchBuffer
from millstream.kafka.fetch import Answer, Reader

TP = TopicPartition("t", 0)
ZSTD = 4


def record_batch(first: int, count: int) -> bytearray:
    builder = BatchBuilder(1 << 20, ZSTD)
    for n in range(first, first + count):
        builder.append(timestamp=n, key=b"k", value=b"%d" % n, headers=[])
    raw = bytearray(builder._build())
    raw[:8] = first.to_bytes(8, "big")  # its first offset; the checksum does not cover it
    return raw


def answer(*batches: bytes) -> Answer:
    return Answer(b"".join(map(bytes, batches)), 100, None)


def buffer(offset: int, *batches: bytes) -> FetchBuffer:
    made = FetchBuffer()
    made.move(offset)
    made.add(answer(*batches))
    return made


def offsets(records: list[Any]) -> list[int]:
    return [record.offset for record in records]


def test_all_records_are_taken_in_whole_batches() -> None:
    made = buffer(0, *(record_batch(first, 10) for first in (0, 10, 20)))
    assert (made.next, made.end, len(made)) == (30, 100, 30)
    assert offsets(made.take(15)) == list(range(20))
    assert len(made) == 10
    made.add(answer(record_batch(30, 5)))
    assert offsets(made.take(100)) == list(range(20, 35))
    assert not made
    assert made.take(15) == []


def test_what_waits_has_a_size() -> None:
    raw = [record_batch(first, 10) for first in (0, 10, 20)]
    made = buffer(0, *raw[:2])
    made.add(answer(raw[2]))
    sizes = []
    while made:
        sizes.append(made.size)
        made.take(1)
    first = len(raw[0]) + len(raw[1])
    assert sizes == [first + len(raw[2]), first + len(raw[2]), len(raw[2])]
    assert made.size == 0
    made.add(answer(record_batch(30, 10)))
    made.move(40)
    assert made.size == 0


def test_what_lies_before_the_position_is_left_out() -> None:
    assert offsets(buffer(7, record_batch(0, 10)).take(1)) == [7, 8, 9]


def test_a_part_of_a_batch_at_the_end_is_fetched_again() -> None:
    made = buffer(0, record_batch(0, 10), record_batch(10, 10)[:-1])
    assert made.next == 10
    assert offsets(made.take(100)) == list(range(10))


def test_a_move_drops_what_is_here() -> None:
    made = buffer(0, record_batch(0, 10))
    made.failure = KafkaError("gone")
    assert made.full(100)
    before = made.generation
    assert made.move(5) == made.generation == before + 1
    assert (made.next, len(made)) == (5, 0)
    assert not made.full(100)
    assert made.take(100) == []


def test_a_corrupt_batch_is_an_error_and_nothing_behind_it_is_taken() -> None:
    bad = record_batch(10, 10)
    bad[-1] ^= 1
    made = FetchBuffer()
    with pytest.raises(KafkaError, match="offset 10 is corrupt"):
        made.add(answer(record_batch(0, 10), bad, record_batch(20, 10)))
    assert made.next == 10
    assert offsets(made.take(100)) == list(range(10))


class Leader(Reader):
    """A reader of a leader that gives the same answer each time."""

    def __init__(self, given: Answer) -> None:
        self.given = given

    def by_leader(self, partitions: Any) -> dict[int, list[TopicPartition]]:
        return {1: list(partitions)}

    async def ask(
        self, node: int, offsets: Mapping[TopicPartition, int], *, wait_ms: int
    ) -> dict[TopicPartition, Answer]:
        return dict.fromkeys(offsets, self.given)


async def test_a_reader_unpacks_all_that_came() -> None:
    fetched = await Leader(answer(record_batch(0, 10), record_batch(10, 3))).fetch({TP: 4}, wait_ms=0)
    assert offsets(list(fetched[TP].records)) == list(range(4, 13))
    assert (fetched[TP].next, fetched[TP].end) == (13, 100)


async def test_a_reader_raises_what_waiting_does_not_mend() -> None:
    lost = KafkaError("out of range")
    with pytest.raises(KafkaError) as raised:
        await Leader(Answer(b"", -1, lost)).fetch({TP: 4}, wait_ms=0)
    assert raised.value is lost


async def test_a_reader_leaves_out_what_may_come_later() -> None:
    away = KafkaError("no leader")
    away.retriable = True
    assert await Leader(Answer(b"", -1, away)).fetch({TP: 4}, wait_ms=0) == {}
