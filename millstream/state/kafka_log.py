"""The state log in Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import TopicPartition

from millstream.kafka.fetch import EARLIEST, PATIENCE_SECONDS, Fetched, Reader, connect
from millstream.kafka.producer import Record, append
from millstream.state.errors import TooLargeError

WAIT_MS = 500


class KafkaLog:
    """One partition of a compacted topic.

    Args:
        producer: returns the producer for appends.
        bootstrap: addresses of Kafka, host:port with commas.
        partition: topic and number.
        topic_id: id that distinguishes the topic from a later one of the same name; empty if it is unknown.
    """

    def __init__(
        self,
        producer: Callable[[], AIOKafkaProducer],
        bootstrap: str,
        partition: TopicPartition,
        topic_id: str,
    ) -> None:
        self.topic_id = topic_id
        self._producer = producer
        self._bootstrap = bootstrap
        self._partition = partition

    async def append(self, entries: Iterable[Record]) -> int:
        """Append entries as one batch, wait until it is confirmed, and return its first offset."""
        topic, number = self._partition
        try:
            (delivery,) = await append(self._producer(), topic, number, entries, whole=True)
            offset = int((await delivery).offset)
        except (ValueError, MessageSizeTooLargeError) as exc:
            raise TooLargeError(str(exc)) from exc
        if offset < 0:
            # A retry of a batch that Kafka already has, but whose offset it no longer remembers.
            raise RuntimeError(f"{topic}/{number}: Kafka confirmed a commit without its offset")
        return offset

    async def start(self) -> int:
        """Return the offset of the oldest record that still exists."""
        partition = self._partition
        async with connect(self._bootstrap, [partition.topic]) as reader:
            return (await reader.offsets([partition], EARLIEST))[partition]

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[Any]]:
        """Yield the records from `start` up to, not including, `end`, in order.

        Raises:
            TimeoutError: Kafka does not deliver the records.
            KafkaError: the log cannot be read, for instance because `start` no longer exists.
        """
        if start >= end:
            return
        partition, position, moved = self._partition, start, time.monotonic()
        async with connect(self._bootstrap, [partition.topic]) as reader:
            coming = asyncio.ensure_future(self._fetch(reader, position))
            try:
                # By position, not by the last record's offset: compaction leaves gaps, also at the end.
                while position < end:
                    fetched = await coming
                    if fetched is None or fetched.next == position:
                        if time.monotonic() - moved > PATIENCE_SECONDS:
                            raise TimeoutError(f"{partition}: no records came from offset {position} on")
                        coming = asyncio.ensure_future(self._fetch(reader, position))
                        continue
                    position, moved = fetched.next, time.monotonic()
                    if position < end:  # the next fetch runs while these records are processed
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
