"""What a partition gives its agent, and when."""

import time
from pathlib import Path
from typing import Any

from aiokafka.errors import OffsetOutOfRangeError

from millstream.engine.batch import Batch
from millstream.engine.idleness import Idleness
from millstream.engine.partition import Partition
from millstream.testing.memory_kafka import MemoryKafka
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.partitions import partition, services
from tests.framework.unit.test_fetch_buffer import answer, record_batch


def reading(path: Path) -> Partition:
    """Make a partition that reads from offset 0."""
    owner = partition(services(MemoryKafka(1)), MemoryLog(), path)
    owner.cursor.generation = owner.buffer.move(0)
    return owner


async def process(batch: Batch[Any] | None) -> None:
    assert batch is not None
    async with batch.commit():
        pass


async def test_a_batch_has_all_that_is_there_when_it_is_taken(tmp_path: Path) -> None:
    owner = reading(tmp_path)
    assert owner.next_batch() is None
    owner.buffer.add(answer(record_batch(0, 3)))
    batch = owner.next_batch()
    owner.buffer.add(answer(record_batch(3, 3)))
    assert owner.next_batch() is None  # one at a time
    await process(batch)
    assert owner.cursor.accepted == 6


async def test_what_was_fetched_is_committed_before_the_place_is_looked_for_again(tmp_path: Path) -> None:
    owner, gone = reading(tmp_path), OffsetOutOfRangeError()
    owner.buffer.add(answer(record_batch(0, 3)))
    owner.buffer.failure = gone
    assert owner.full
    await process(owner.next_batch())
    assert owner.next_batch() is None
    assert owner.at_work  # the batch waits for its commit
    await owner._committing._commit(1)
    assert owner.next_batch() is None
    assert not owner.at_work
    assert owner.committed == 3


async def test_a_planned_move_of_the_watermark_goes_before_what_was_fetched(tmp_path: Path) -> None:
    owner = reading(tmp_path)
    owner.cursor.watermark = time.time()
    before = Idleness(0.0, time.time)
    owner.idleness.load(before.plan(0, owner.cursor.watermark), 0)  # as after a crash
    owner.buffer.add(answer(record_batch(0, 3)))
    chunk = owner.offering.offer()
    assert chunk is not None
    assert chunk.watermark is not None
    await process(owner.batch(chunk))
    assert owner.cursor.accepted == 0
    await process(owner.next_batch())
    assert owner.cursor.accepted == 3
