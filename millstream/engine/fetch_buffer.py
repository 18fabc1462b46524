"""Record batches that were fetched of a partition and wait to be processed."""

from collections import deque
from typing import Any

from aiokafka.errors import KafkaError

from millstream.kafka.fetch import FETCH_BYTES, Answer, read_batch, record_batches


class FetchBuffer:
    """What was fetched of a partition and not taken yet: record batches, unpacked when they are taken.

    Attributes:
        next: offset to fetch from.
        end: offset after the partition's last record, as of the last fetch; None before the first.
        tag: number of the last move.
        size: bytes of the answers that are here, a little more than those of what waits.
        failure: why nothing can be fetched from `next` on; None if it can.
    """

    def __init__(self) -> None:
        self.next = 0
        self.end: int | None = None
        self.generation = 0
        self.size = 0
        self.failure: KafkaError | None = None
        self._taken = 0
        # Each with the bytes that are free when it is taken: an answer's, with its last one.
        self._batches: deque[tuple[Any, int]] = deque()

    def __len__(self) -> int:
        """Return the number of offsets that wait; compaction leaves gaps among them."""
        return self.next - self._taken

    def full(self, limit: int) -> bool:
        """Whether no more should be fetched for now, where `limit` records may wait."""
        return self.failure is not None or len(self) > limit or self.size > FETCH_BYTES

    def move(self, offset: int) -> int:
        """Drop what is here and go on from an offset; return the move's number."""
        self._batches.clear()
        self.size, self.failure = 0, None
        self.next = self._taken = offset
        self.generation += 1
        return self.generation

    def add(self, answer: Answer) -> None:
        """Add what was fetched from `next` on.

        Raises:
            KafkaError: a record batch is corrupt; it is not added, nor what stands behind it.
        """
        self.end = answer.end
        for batch in record_batches(answer.raw):
            self._batches.append((batch, 0))
            self.next = max(self.next, batch.next_offset)
        if answer.raw and self._batches:
            batch, free = self._batches.pop()
            self._batches.append((batch, free + len(answer.raw)))
            self.size += len(answer.raw)

    def take(self, limit: int) -> list[Any]:
        """Take records in order, in whole record batches, until there are `limit` or none are left."""
        records: list[Any] = []
        while len(records) < limit and self._batches:
            batch, free = self._batches.popleft()
            more, self._taken = read_batch(batch, self._taken)
            records += more
            self.size -= free
        return records
