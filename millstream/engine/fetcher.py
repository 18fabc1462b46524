"""Fetched: what the worker's partitions have room for, on the event loop that processes it.

aiokafka's consumer fetches again only when all its records are taken, and Faust takes them in another thread:
under load each record waits for both, and both threads wait for the interpreter's lock.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.aio import cancel
from millstream.engine.fetch_buffer import FetchBuffer
from millstream.kafka.fetch import RETRY_SECONDS, Reader, connect

logger = logging.getLogger(__name__)

# How long a leader without new records may wait for one.
IDLE_MS = 500
# The same while another of its partitions is full: that one soon has room, and must not wait for the idle.
BUSY_MS = 10
# Fetches of a leader begin at least so far apart: a batch costs half a millisecond however small it is.
PACE_SECONDS = 0.002


class Fetched(Protocol):
    """A partition that is fetched from."""

    @property
    def buffer(self) -> FetchBuffer:
        """Where fetched record batches go."""
        ...

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched for now."""
        ...


class Fetcher:
    """Fetches from the leaders of the partitions that this worker owns, one request at a time from each.

    Args:
        bootstrap: returns addresses of Kafka, host:port with commas.
        topics: names of the source topics.
        partitions: the partitions that this worker owns.
        fetched: called with a topic of which something has come.
    """

    def __init__(
        self,
        bootstrap: Callable[[], str],
        topics: Collection[str],
        partitions: Mapping[TP, Fetched],
        fetched: Callable[[str], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._topics = topics
        self._partitions = partitions
        self._fetched = fetched
        self._task: asyncio.Task[None] | None = None
        # It wakes up when a partition has room, is moved, or comes.
        self.room = asyncio.Event()

    def start(self) -> None:
        """Begin, if it has not."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="fetcher")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await cancel(self._task)

    async def _run(self) -> None:
        while True:
            try:
                async with connect(self._bootstrap(), list(self._topics)) as reader:
                    await self._fetch(reader)
            except Exception as exc:  # of any kind: what was not fetched is fetched again
                logger.warning("events could not be fetched: %r; trying again", exc)
                await asyncio.sleep(RETRY_SECONDS)

    async def _fetch(self, reader: Reader) -> None:
        following: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                partitions = self._partitions
                leaders = reader.by_leader(TopicPartition(*tp) for tp in partitions)
                for node in leaders.keys() - following:
                    following[node] = asyncio.create_task(self._follow(reader, node))
                if sum(map(len, leaders.values())) < len(partitions):
                    await reader.refresh()
                await asyncio.sleep(RETRY_SECONDS)
                for task in filter(asyncio.Task.done, following.values()):
                    task.result()
        finally:
            for task in following.values():
                await cancel(task)

    async def _follow(self, reader: Reader, node: int) -> None:
        """Fetch from one leader, whatever it leads."""
        while True:
            self.room.clear()
            led = reader.by_leader(TopicPartition(*tp) for tp in self._partitions).get(node, ())
            wanted = [tp for tp in led if not self._partitions[tp].full]
            if wanted:
                await self._ask(reader, node, wanted, busy=len(wanted) < len(led))
            else:
                await self.room.wait()

    async def _ask(self, reader: Reader, node: int, tps: list[TopicPartition], *, busy: bool) -> None:
        began, partitions = time.monotonic(), self._partitions
        asked = {tp: (partition := partitions[tp], partition.buffer.generation) for tp in tps}
        offsets = {tp: partition.buffer.next for tp, (partition, _) in asked.items()}
        answers = await reader.ask(node, offsets, wait_ms=BUSY_MS if busy else IDLE_MS)
        failed = not answers
        for tp, answer in answers.items():
            partition, asked_generation = asked[tp]
            if partitions.get(tp) is not partition or partition.buffer.generation != asked_generation:
                continue  # it was moved, or is not ours any more
            if answer.error is not None and answer.error.retriable:
                failed = True
                continue
            try:
                if answer.error is not None:
                    raise answer.error
                partition.buffer.add(answer)
            except KafkaError as exc:
                partition.buffer.failure = exc
            if partition.buffer or partition.buffer.failure:
                self._fetched(tp.topic)
        pause = RETRY_SECONDS if failed else began + PACE_SECONDS - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
