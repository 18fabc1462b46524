"""What may wait for its commit at once."""

import pytest

from millstream.engine.counters import BatchStatistics
from millstream.engine.staging import DEPTH, LEAST_BATCHES, MOST_BATCHES, CommitQueue, Staged

LIMIT = 10


def fill(queue: CommitQueue, batches: int, records: int) -> None:
    for _ in range(batches):
        statistics = BatchStatistics()
        statistics.records = records
        queue.add(Staged(None, {}, [], 0, 0.0, 0, (0, 0, 0), statistics))


@pytest.mark.parametrize(
    ("batches", "records", "deep"),
    [
        (DEPTH - 1, LIMIT, False),
        (DEPTH, LIMIT, True),
        (LEAST_BATCHES - 1, DEPTH * LIMIT, False),
        (LEAST_BATCHES, DEPTH * LIMIT, True),
        (MOST_BATCHES - 1, 1, False),
        (MOST_BATCHES, 1, True),
    ],
)
def test_so_much_may_wait(batches: int, records: int, deep: bool) -> None:
    queue = CommitQueue()
    fill(queue, batches, records)
    assert queue.deep(LIMIT) is deep


def test_what_is_committed_or_dropped_waits_no_more() -> None:
    queue = CommitQueue()
    fill(queue, DEPTH, LIMIT)
    queue.committed(1)
    assert not queue.deep(LIMIT)
    queue.drop()
    assert not queue
    fill(queue, LEAST_BATCHES, LIMIT)
    assert not queue.deep(LIMIT)
