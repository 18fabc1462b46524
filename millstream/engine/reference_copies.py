"""The worker's copies of reference topics, each read by a task of its own."""

import asyncio
import logging
from collections.abc import Callable

from aiokafka.structs import TopicPartition

from millstream.aio import cancel
from millstream.kafka.fetch import EARLIEST, LATEST, Reader, connect
from millstream.state.replica import chunked
from millstream.tables.reference import Reference, ReferenceCopy

logger = logging.getLogger(__name__)

WAIT_MS = 500
RETRY_SECONDS = 1.0


class References:
    """The copies that this worker keeps, each read by a task of its own once it is wanted.

    Args:
        bootstrap: returns addresses of Kafka, host:port with commas.
        clock: returns the time, seconds since the epoch.

    Attributes:
        copies: the copies, by the topics' names in Kafka.
    """

    def __init__(self, bootstrap: Callable[[], str], clock: Callable[[], float]) -> None:
        self._bootstrap = bootstrap
        self._clock = clock
        self.copies: dict[str, ReferenceCopy] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def of(self, reference: "Reference[object]") -> ReferenceCopy:
        """Return the copy of a reference topic; it may not be ready yet."""
        copy = self.copies.get(reference.topic)
        if copy is None:
            copy = self.copies[reference.topic] = ReferenceCopy(reference, self._clock)
            self.read(copy)
        return copy

    def read(self, copy: ReferenceCopy) -> None:
        """Begin to read what a copy is of."""
        self._tasks.append(
            asyncio.create_task(self._run(copy), name=f"reference topic {copy.reference.topic}")
        )

    async def close(self) -> None:
        """Stop, and forget the copies."""
        for task in self._tasks:
            await cancel(task)
        self._tasks.clear()
        self.copies.clear()

    async def _run(self, copy: ReferenceCopy) -> None:
        while True:
            try:
                async with connect(self._bootstrap(), [copy.reference.topic]) as reader:
                    await _follow(reader, copy)
            except Exception as exc:  # Kafka is away, or the topic was made anew
                logger.warning("%s: %r; trying again", copy.reference.topic, exc)
                await asyncio.sleep(RETRY_SECONDS)


async def _follow(reader: Reader, copy: ReferenceCopy) -> None:
    """Read a topic from where its copy has come to, for ever."""
    partitions, ends = await _begin(reader, copy)
    while True:
        # Not by records: compaction may have left none before the end.
        if all(copy.next[tp.partition] >= ends[tp] for tp in partitions):
            copy.ready.set()
        fetched = await reader.fetch({tp: copy.next[tp.partition] for tp in partitions}, wait_ms=WAIT_MS)
        if len(fetched) == len(partitions) and not any(part.records for part in fetched.values()):
            copy.ready.set()
        for tp, part in fetched.items():
            for records, following in chunked(part.records, part.next):
                copy.apply(tp.partition, records, following)
                await asyncio.sleep(0)


async def _begin(
    reader: Reader, copy: ReferenceCopy
) -> tuple[list[TopicPartition], dict[TopicPartition, int]]:
    """Return the topic's partitions and their ends; a copy that cannot be continued begins anew."""
    topic = copy.reference.topic
    partitions = await reader.partitions(topic)
    starts = await reader.offsets(partitions, EARLIEST)
    ends = await reader.offsets(partitions, LATEST)
    read = {tp: copy.next.get(tp.partition, starts[tp]) for tp in partitions}
    if any(not starts[tp] <= read[tp] <= ends[tp] for tp in partitions):
        logger.warning("%s was made anew, or has lost records: it is read again", topic)
        copy.clear()
        read = starts
    copy.next.update((tp.partition, offset) for tp, offset in read.items())
    return partitions, ends
