"""Outputs that take the place of earlier ones: a commit sends the last of each."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from millstream.engine.partition import Partition
from millstream.state.errors import TooLargeError
from millstream.testing.memory_kafka import MemoryKafka
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.partitions import partition, services

TOPIC: Any = SimpleNamespace(topics=["counts"])


class Counting(MemoryKafka):
    """Counts batches, and fails if it is told to."""

    batches = 0
    failure: Exception | None = None

    async def send_batch(self, *args: Any, **kwargs: Any) -> Any:
        if self.failure is not None:
            raise self.failure
        self.batches += 1
        return await super().send_batch(*args, **kwargs)


def sent(kafka: MemoryKafka) -> list[tuple[bytes, bytes, bytes]]:
    """Return key, value and origin of what was sent."""
    return [(r.key, r.value, r.headers[0][1]) for r in kafka.records("counts", 0)]


async def process(owner: Partition, numbers: list[int]) -> None:
    """Have an agent tell the sum of the even and of the odd numbers."""
    records = [
        SimpleNamespace(offset=owner.cursor.accepted + i, value=b"%d" % n, headers=(), timestamp=0)
        for i, n in enumerate(numbers)
    ]
    batch = owner.batch(owner.offering.chunk(cast(Any, records)))
    async with batch.commit() as commit:
        sums = [0, 0]
        for n in batch:
            sums[n % 2] += n
            commit.update(TOPIC, key="sum", value=sums[n % 2], of=n % 2)


async def commit(owner: Partition, count: int) -> None:
    """Commit the first batches together."""
    await owner._committing._commit(count)


async def test_batches_that_share_a_commit_share_updates(tmp_path: Path) -> None:
    producer = MemoryKafka(1)
    owner = partition(services(producer), MemoryLog(), tmp_path)
    await process(owner, [1, 2, 3, 4])
    await process(owner, [5])
    assert sent(producer) == []
    await commit(owner, 2)
    assert sent(producer) == [(b"sum", b"5", b"numbers/0/4"), (b"sum", b"6", b"numbers/0/3")]
    assert owner.committed == 5


async def test_they_are_sent_before_the_commit(tmp_path: Path) -> None:
    producer, log = MemoryKafka(1), MemoryLog()
    owner = partition(services(producer), log, tmp_path)
    await process(owner, [1])

    async def append(entries: Any) -> int:
        assert sent(producer) == [(b"sum", b"1", b"numbers/0/0")]
        return await MemoryLog.append(log, entries)

    log.append = append  # type: ignore[method-assign] # to look in at the right moment
    await commit(owner, 1)
    assert log.end > 0


async def test_where_a_commit_is_too_large_each_batch_sends_its_own(tmp_path: Path) -> None:
    producer, log = MemoryKafka(1), MemoryLog()
    owner = partition(services(producer), log, tmp_path)
    log.max_entries = 0
    await process(owner, [1])
    await process(owner, [3])
    with pytest.raises(TooLargeError):
        await commit(owner, 2)
    log.max_entries = 1000
    await commit(owner, 1)
    await commit(owner, 1)
    assert [value for _, value, _ in sent(producer)] == [b"3", b"1", b"3"]
    assert owner.committed == 2


async def test_partitions_that_commit_at_once_share_batches(tmp_path: Path) -> None:
    producer = Counting(1)
    shared = services(producer)
    first, second = (partition(shared, MemoryLog(), tmp_path / str(number), number) for number in (0, 1))
    await process(first, [1, 2])
    await process(second, [3])
    await asyncio.gather(commit(first, 1), commit(second, 1))
    assert sent(producer) == [
        (b"sum", b"1", b"numbers/0/0"),
        (b"sum", b"2", b"numbers/0/1"),
        (b"sum", b"3", b"numbers/1/0"),
    ]
    assert producer.batches == 1


async def test_a_batch_that_fails_fails_all_that_have_a_share_in_it(tmp_path: Path) -> None:
    producer = Counting(1)
    shared = services(producer)
    first, second = (partition(shared, MemoryLog(), tmp_path / name) for name in "ab")
    producer.failure = ConnectionError("away")
    await process(first, [1])
    await process(second, [3])
    commits = [commit(first, 1), commit(second, 1)]
    failures = await asyncio.gather(*commits, return_exceptions=True)
    assert failures == [producer.failure, producer.failure]
    assert (first.committed, second.committed) == (None, None)
    producer.failure = None
    await commit(first, 1)
    assert [value for _, value, _ in sent(producer)] == [b"1"]


async def test_a_partition_that_gives_up_takes_no_other_with_it(tmp_path: Path) -> None:
    producer = Counting(1)
    shared = services(producer)
    first, second = (partition(shared, MemoryLog(), tmp_path / name) for name in "ab")
    await process(first, [1])
    await process(second, [3])
    gone = asyncio.create_task(commit(first, 1))
    stays = asyncio.create_task(commit(second, 1))
    await asyncio.sleep(0)
    gone.cancel()
    await stays
    assert [value for _, value, _ in sent(producer)] == [b"1", b"3"]
    assert (first.committed, second.committed) == (None, 1)
