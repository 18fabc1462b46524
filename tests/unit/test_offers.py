"""What a partition gives its agent, and when."""

import time
from pathlib import Path
from typing import cast

from aiokafka.errors import OffsetOutOfRangeError

from app.engine.batch import Batch, Chunk
from app.engine.idle import Idle
from app.engine.partition import Partition
from app.memory.kafka import MemoryKafka
from tests.memory_log import MemoryLog
from tests.unit.test_fetch import answer, record_batch
from tests.unit.test_updates import partition


def reading(path: Path) -> Partition:
    """Make a partition that reads from offset 0."""
    owner = partition(MemoryKafka(1), MemoryLog(), path)
    owner.tag = owner.incoming.move(0)
    return owner


async def process(chunk: Chunk | None) -> None:
    batch: Batch[int] = Batch(cast(Chunk, chunk))
    async with batch.commit():
        pass


async def test_a_batch_has_all_that_is_there_when_it_is_taken(tmp_path: Path) -> None:
    owner = reading(tmp_path)
    assert owner.offer() is None
    owner.incoming.add(answer(record_batch(0, 3)))
    chunk = owner.offer()
    owner.incoming.add(answer(record_batch(3, 3)))
    assert owner.offer() is None  # one at a time
    await process(chunk)
    assert owner.accepted == 6


async def test_what_was_fetched_is_committed_before_the_place_is_looked_for_again(tmp_path: Path) -> None:
    owner, gone = reading(tmp_path), OffsetOutOfRangeError()
    owner.incoming.add(answer(record_batch(0, 3)))
    owner.incoming.failure = gone
    assert owner.full
    await process(owner.offer())
    assert owner.offer() is None
    assert owner.tag is not None  # the batch waits for its commit
    await owner._commit_first(1)
    assert owner.offer() is None
    assert owner.tag is None
    assert owner.committed == 3


async def test_a_planned_move_of_the_watermark_goes_before_what_was_fetched(tmp_path: Path) -> None:
    owner = reading(tmp_path)
    owner.watermark = time.time()
    before = Idle(0.0, time.time)
    owner._silence = Idle(3600.0, time.time)
    owner._silence.load(before.plan(0, owner.watermark), 0)  # as after a crash
    owner.incoming.add(answer(record_batch(0, 3)))
    chunk = owner.offer()
    assert chunk is not None
    assert chunk.watermark is not None
    await process(chunk)
    assert owner.accepted == 0
    await process(owner.offer())
    assert owner.accepted == 3
