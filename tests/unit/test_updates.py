"""Outputs that take the place of earlier ones: a commit sends the last of each."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.record import MemoryRecords

from app.engine.batch import Batch, Chunk
from app.engine.errors import DlqLimit
from app.engine.partition import Partition
from models.record import encode
from tables.log import Position, TooLargeError
from tables.replica import Changes
from tables.state import State
from tables.store import Store
from tests.memory_log import MemoryLog

TOPIC: Any = SimpleNamespace(topics=["counts"])


class Producer:
    """Sends nowhere, and takes note of it."""

    _message_accumulator = SimpleNamespace(_batch_size=1 << 20, _compression_type=0)

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, bytes]] = []

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        records = MemoryRecords(bytes(batch._build()))
        while records.has_next():
            self.sent += [(r.key, r.value, r.headers[0][1]) for r in records.next_batch()]
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent


def partition(producer: Producer, log: MemoryLog, path: Path) -> Partition:
    """Make a partition that is at work."""
    wiring = SimpleNamespace(
        new_changes=Changes, position=Position, encode=encode, too_large=TooLargeError, fenced=RuntimeError
    )
    source: Any = SimpleNamespace(
        topic="numbers",
        dead_letters="dead",
        tables=[],
        event_time=float,
        decode=lambda records: [int(record.value) for record in records],
    )
    engine = SimpleNamespace(
        wiring=wiring,
        producer=producer,
        copartitioned=set(),
        policies={},
        dlq_limit=DlqLimit(),
        clock=time.time,
        room=asyncio.Event(),
    )
    made = Partition(cast(Any, engine), source, 0, limit=100)
    made.state = cast(Any, State(log, Store(path), []))
    made.tag = 0
    return made


async def process(owner: Partition, numbers: list[int]) -> None:
    """Have an agent tell the sum of the even and of the odd numbers."""
    records = [
        SimpleNamespace(offset=owner.accepted + i, value=b"%d" % n, headers=(), timestamp=0)
        for i, n in enumerate(numbers)
    ]
    batch: Batch[int] = Batch(cast(Chunk, owner.chunk(records, 0)))
    async with batch.commit() as out:
        sums = [0, 0]
        for n in batch:
            sums[n % 2] += n
            out.update(TOPIC, key="sum", value=sums[n % 2], of=n % 2)


async def test_batches_that_share_a_commit_share_updates(tmp_path: Path) -> None:
    producer = Producer()
    owner = partition(producer, MemoryLog(), tmp_path)
    await process(owner, [1, 2, 3, 4])
    await process(owner, [5])
    assert producer.sent == []
    await owner._commit_first(2)
    assert producer.sent == [(b"sum", b"5", b"numbers/0/4"), (b"sum", b"6", b"numbers/0/3")]
    assert owner.committed == 5


async def test_they_are_sent_before_the_commit(tmp_path: Path) -> None:
    producer, log = Producer(), MemoryLog()
    owner = partition(producer, log, tmp_path)
    await process(owner, [1])

    async def append(entries: Any) -> int:
        assert producer.sent == [(b"sum", b"1", b"numbers/0/0")]
        return await MemoryLog.append(log, entries)

    log.append = append  # type: ignore[method-assign] # to look in at the right moment
    await owner._commit_first(1)
    assert log.end > 0


async def test_where_a_commit_is_too_large_each_batch_sends_its_own(tmp_path: Path) -> None:
    producer, log = Producer(), MemoryLog()
    owner = partition(producer, log, tmp_path)
    log.max_entries = 0
    await process(owner, [1])
    await process(owner, [3])
    with pytest.raises(TooLargeError):
        await owner._commit_first(2)
    log.max_entries = 1000
    await owner._commit_first(1)
    await owner._commit_first(1)
    assert [value for _, value, _ in producer.sent] == [b"3", b"1", b"3"]
    assert owner.committed == 2
