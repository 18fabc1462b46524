"""Fetching below aiokafka's consumer.

The consumer makes an object with eleven fields of each record, which takes most of its time. Here a record is
what aiokafka's parser in C returns; see `millstream.engine.source.ConsumerRecord`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.record import MemoryRecords
from aiokafka.structs import TopicPartition

# Of one partition; compressed: what comes out may be ten times as much.
FETCH_BYTES = 1 << 20
RETRY_SECONDS = 0.1
# Longest time without an answer that is of use: Kafka is restarting, or a partition changes its leader.
PATIENCE_SECONDS = 60.0

EARLIEST = -2
LATEST = -1
READ_UNCOMMITTED = 0


class Fetched(NamedTuple):
    """What a fetch has brought of one partition.

    Attributes:
        records: the records, in order.
        next: offset to fetch from next; compaction and control records leave gaps behind the last record.
        end: offset after the partition's last record.
    """

    records: Sequence[Any]
    next: int
    end: int


class Answer(NamedTuple):
    """What a leader answers about one partition.

    Attributes:
        raw: record batches, whole.
        end: offset after the partition's last record.
        error: why there are none; None if nothing is wrong.
    """

    raw: bytes
    end: int
    error: KafkaError | None


class Reader:
    """Fetches from the leaders of a few topics' partitions."""

    def __init__(self, client: AIOKafkaClient) -> None:
        self._client = client

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic, in order.

        Raises:
            KafkaError: Kafka does not answer for `PATIENCE_SECONDS`.
        """
        began = time.monotonic()
        while not (numbers := self._client.cluster.partitions_for_topic(topic)):
            await self._wait(None, began)
        return [TopicPartition(topic, number) for number in sorted(numbers)]

    async def offsets(self, partitions: Iterable[TopicPartition], which: int) -> dict[TopicPartition, int]:
        """Return the `EARLIEST` or `LATEST` offset of partitions.

        Raises:
            KafkaError: a partition does not answer for `PATIENCE_SECONDS`.
        """
        found: dict[TopicPartition, int] = {}
        wanted = set(partitions)
        began = time.monotonic()
        while wanted:
            failure: KafkaError | None = None
            for node, part in self.by_leader(wanted).items():
                topics = _by_topic((tp, (tp.partition, which)) for tp in part)
                request = OffsetRequest(-1, READ_UNCOMMITTED, topics)
                try:
                    response = await self._client.send(node, request)
                except KafkaError as exc:
                    failure = exc
                    continue
                for topic, answers in response.topics:
                    for number, code, _timestamp, offset, *_ in answers:
                        if code:
                            failure = for_code(code)(f"{topic}/{number}")
                        else:
                            found[TopicPartition(topic, number)] = offset
            wanted -= found.keys()
            if wanted:
                await self._wait(failure, began)
        return found

    async def fetch(
        self, offsets: Mapping[TopicPartition, int], *, wait_ms: int
    ) -> dict[TopicPartition, Fetched]:
        """Fetch each partition once from its offset on.

        Args:
            offsets: where to begin, for each partition.
            wait_ms: how long Kafka may wait for a first record.

        Returns:
            What came; a partition with an error that may pass is not among it.

        Raises:
            KafkaError: an error that does not pass, such as an offset that is not there any more.
        """
        by_leader = self.by_leader(offsets)
        asked = [
            self._fetch(node, {tp: offsets[tp] for tp in part}, wait_ms) for node, part in by_leader.items()
        ]
        brought: dict[TopicPartition, Fetched] = {}
        for part in await asyncio.gather(*asked):
            brought.update(part)
        if not brought:
            await asyncio.sleep(RETRY_SECONDS)
        return brought

    async def _fetch(
        self, node: int, offsets: Mapping[TopicPartition, int], wait_ms: int
    ) -> dict[TopicPartition, Fetched]:
        brought = {}
        for tp, answer in (await self.ask(node, offsets, wait_ms=wait_ms)).items():
            if answer.error is None:
                brought[tp] = _unpack(answer, offsets[tp])
            elif not answer.error.retriable:
                raise answer.error
        return brought

    async def ask(
        self, node: int, offsets: Mapping[TopicPartition, int], *, wait_ms: int
    ) -> dict[TopicPartition, Answer]:
        """Ask a leader once for each partition from its offset on.

        Args:
            node: the leader's number; see `by_leader`.
            offsets: where to begin, for each partition; the first ones come first if there is much.
            wait_ms: how long Kafka may wait for a first record.

        Returns:
            What it answers; nothing if it does not.
        """
        topics = _by_topic((tp, (tp.partition, offset, FETCH_BYTES)) for tp, offset in offsets.items())
        request = FetchRequest(wait_ms, 1, 4 * FETCH_BYTES, READ_UNCOMMITTED, topics)
        found: dict[TopicPartition, Answer] = {}
        try:
            response = await self._client.send(node, request)
        except KafkaError:
            await self.refresh()
            return found
        for topic, answers in response.topics:
            for number, code, end, *_, raw in answers:
                tp = TopicPartition(topic, number)
                error = for_code(code)(f"{topic}/{number} at offset {offsets[tp]}") if code else None
                found[tp] = Answer(raw, end, error)
        if any(answer.error is not None and answer.error.retriable for answer in found.values()):
            await self.refresh()
        return found

    async def refresh(self) -> None:
        """Ask who leads which partition now."""
        await self._client.force_metadata_update()

    def by_leader(self, partitions: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
        """Return the partitions of each leader, without those that have none as far as is known."""
        leaders: dict[int, list[TopicPartition]] = defaultdict(list)
        for tp in partitions:
            leader = self._client.cluster.leader_for_partition(tp)
            if leader is not None and leader >= 0:
                leaders[leader].append(tp)
        return leaders

    async def _wait(self, failure: KafkaError | None, began: float) -> None:
        if failure is not None and not failure.retriable:
            raise failure
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise failure or LeaderNotAvailableError()
        await asyncio.sleep(RETRY_SECONDS)
        await self.refresh()


@asynccontextmanager
async def connect(bootstrap: str, topics: Iterable[str]) -> AsyncIterator[Reader]:
    """Open a reader of topics.

    Raises:
        KafkaError: Kafka does not answer.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    try:
        await client.bootstrap()
        await client.set_topics(list(topics))
        yield Reader(client)
    finally:
        await client.close()


def _by_topic(items: Iterable[tuple[TopicPartition, Any]]) -> list[tuple[str, list[Any]]]:
    topics: dict[str, list[Any]] = defaultdict(list)
    for tp, item in items:
        topics[tp.topic].append(item)
    return list(topics.items())


def _unpack(answer: Answer, offset: int) -> Fetched:
    records: list[Any] = []
    for batch in record_batches(answer.raw):
        more, offset = read_batch(batch, offset)
        records += more
    return Fetched(records, offset, answer.end)


def record_batches(raw: bytes) -> Iterator[Any]:
    """Yield the record batches of an answer.

    Raises:
        KafkaError: one is corrupt.
    """
    batches = MemoryRecords(raw)
    while batches.has_next():
        batch: Any = batches.next_batch()
        if not batch.validate_crc():
            raise KafkaError(f"a record batch at offset {batch.base_offset} is corrupt")
        yield batch


def read_batch(batch: Any, offset: int) -> tuple[list[Any], int]:
    """Return a batch's records from `offset` on, and the offset to go on from."""
    records = [] if batch.is_control_batch else list(batch)
    if records and records[0].offset < offset:  # a batch is sent whole
        records = [record for record in records if record.offset >= offset]
    return records, max(offset, batch.next_offset)
