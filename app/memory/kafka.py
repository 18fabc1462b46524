"""Topics in memory, and what the engine appends to them with."""

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
    """Topics with as many partitions each.

    Attributes:
        partitions: number of partitions of every topic.
        now: milliseconds since the epoch; what is appended gets it as its timestamp.
    """

    # What `app.engine.producer.append` needs of aiokafka's producer.
    _message_accumulator = SimpleNamespace(_batch_size=BATCH_BYTES, _compression_type=UNCOMPRESSED)

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.now = 0
        self._topics: dict[tuple[str, int], list[Any]] = defaultdict(list)

    def records(self, topic: str, partition: int) -> Sequence[Any]:
        """Return all records of a partition."""
        return self._topics[topic, partition]

    def put(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
    ) -> None:
        """Append one record."""
        records = self._topics[topic, partition]
        records.append(DefaultRecord(len(records), self.now, LOG_APPEND_TIME, key, value, list(headers)))

    async def partitions_for(self, topic: str) -> set[int]:  # noqa: ARG002 (the same for all)
        """Return the numbers of a topic's partitions."""
        return set(range(self.partitions))

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Append a batch as it would go to Kafka."""
        offset = len(self._topics[topic, partition])
        batches = MemoryRecords(bytes(batch._build()))
        while batches.has_next():
            for record in batches.next_batch():
                self.put(topic, partition, record.key, record.value, record.headers)
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(SimpleNamespace(offset=offset))
        return sent
