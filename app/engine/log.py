"""The state log in Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import TopicPartition

from app.engine.fetch import EARLIEST, PATIENCE_SECONDS, Fetched, Reader, connect
from app.engine.producer import Record, append

WAIT_MS = 500


class KafkaLog:
    """One partition of a compacted topic.

    Args:
        producer: returns who appends.
        bootstrap: addresses of Kafka, host:port with commas.
        partition: topic and number.
        topic_id: tells the topic from a later one of the same name; empty if that is not known.
        too_large: what to raise when entries do not fit into one batch.
    """

    def __init__(
        self,
        producer: Callable[[], AIOKafkaProducer],
        bootstrap: str,
        partition: TopicPartition,
        topic_id: str,
        too_large: type[Exception],
    ) -> None:
        self.topic_id = topic_id
        self._producer = producer
        self._bootstrap = bootstrap
        self._partition = partition
        self._too_large = too_large

    async def append(self, entries: Iterable[Record]) -> int:
        """Append entries as one batch, wait until it is confirmed, and return its first offset."""
        topic, number = self._partition
        try:
            (delivery,) = await append(self._producer(), topic, number, entries, whole=True)
            offset = int((await delivery).offset)
        except (ValueError, MessageSizeTooLargeError) as exc:
            raise self._too_large(str(exc)) from exc
        if offset < 0:
            # A retry of a batch that Kafka has, but remembers too little of to say where.
            raise RuntimeError(f"{topic}/{number}: Kafka confirmed a commit without its offset")
        return offset

    async def start(self) -> int:
        """Return the offset of the oldest record that is still there."""
        partition = self._partition
        async with connect(self._bootstrap, [partition.topic]) as reader:
            return (await reader.offsets([partition], EARLIEST))[partition]

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Any]]:
        """Yield the records from `start` up to, not including, `end`, in order.

        Raises:
            TimeoutError: Kafka does not deliver what it has.
            KafkaError: the log cannot be read, for instance because `start` is not there any more.
        """
        if start >= end:
            return
        partition, position, moved = self._partition, start, time.monotonic()
        async with connect(self._bootstrap, [partition.topic]) as reader:
            coming = asyncio.ensure_future(self._fetch(reader, position))
            try:
                # By position, not by the last record's offset: compaction leaves gaps, at the end too.
                while position < end:
                    fetched = await coming
                    if fetched is None or fetched.next == position:
                        if time.monotonic() - moved > PATIENCE_SECONDS:
                            raise TimeoutError(f"{partition}: nothing came from offset {position} on")
                        coming = asyncio.ensure_future(self._fetch(reader, position))
                        continue
                    position, moved = fetched.next, time.monotonic()
                    if position < end:  # the next ones come while these are worked on
                        coming = asyncio.ensure_future(self._fetch(reader, position))
                    records = fetched.records
                    if position > end:
                        records = [record for record in records if record.offset < end]
                    if records:
                        yield records
            finally:
                coming.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await coming

    async def _fetch(self, reader: Reader, position: int) -> Fetched | None:
        return (await reader.fetch({self._partition: position}, wait_ms=WAIT_MS)).get(self._partition)
