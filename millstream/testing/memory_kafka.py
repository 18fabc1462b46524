"""Topics in memory, and a producer for the engine."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from aiokafka.record import MemoryRecords
from aiokafka.record.default_records import DefaultRecord

BATCH_BYTES = 8_000_000
UNCOMPRESSED = 0
LOG_APPEND_TIME = 1


class MemoryKafka:
    """Topics with the same number of partitions.

    Attributes:
        partitions: number of partitions of every topic.
        now: milliseconds since the epoch: the timestamp of appended records.
    """

    # The parts of aiokafka's producer that `millstream.kafka.producer.append` uses.
    _message_accumulator = SimpleNamespace(_batch_size=BATCH_BYTES, _compression_type=UNCOMPRESSED)

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.now = 0
        self._topics: dict[tuple[str, int], list[Any]] = defaultdict(list)
        self._dropped: dict[tuple[str, int], int] = defaultdict(int)

    def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record of a partition."""
        return self._dropped[topic, partition] + len(self._topics[topic, partition])

    def records(self, topic: str, partition: int, start: int = 0) -> Sequence[Any]:
        """Return the records of a partition from an offset on."""
        first = max(start - self._dropped[topic, partition], 0)
        return self._topics[topic, partition][first:]

    def topics(self) -> list[str]:
        """Return the names of all topics that have records."""
        return sorted({topic for (topic, _), records in self._topics.items() if records})

    def drop(self, topic: str, partition: int) -> None:
        """Delete the records of a partition; offsets continue."""
        self._dropped[topic, partition] = self.end(topic, partition)
        self._topics[topic, partition].clear()

    def put(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Append one record."""
        offset = self.end(topic, partition)
        self._topics[topic, partition].append(
            DefaultRecord(offset, self.now, LOG_APPEND_TIME, key, value, list(headers))
        )

    async def partitions_for(self, topic: str) -> set[int]:  # noqa: ARG002 (the same for all)
        """Return the numbers of a topic's partitions."""
        return set(range(self.partitions))

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Append a batch as it would be sent to Kafka."""
        offset = self.end(topic, partition)
        batches = MemoryRecords(bytes(batch._build()))
        while batches.has_next():
            for record in batches.next_batch():
                self.put(topic, partition, record.key, record.value, record.headers)
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(SimpleNamespace(offset=offset))
        return sent
