"""What the worker's partitions have room for is fetched, on the event loop that processes it.

aiokafka's consumer fetches again only when all that it has is taken, and Faust takes it in another thread:
under a load each record waits for both, and both threads for the interpreter's lock.
"""

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from app.engine.fetch import RETRY_SECONDS, Reader, connect
from app.engine.tasks import cancel

if TYPE_CHECKING:
    from app.engine.engine import Engine

logger = logging.getLogger(__name__)

# How long a leader without new records may wait for one.
IDLE_MS = 500
# The same while another of its partitions is full: that one soon has room, and must not wait for the idle.
BUSY_MS = 10
# Fetches of a leader begin at least so far apart: a batch costs half a millisecond however small it is.
PACE_SECONDS = 0.002


class Fetching:
    """Fetches from the leaders of the partitions that this worker owns, one request at a time from each."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        # It wakes up when a partition has room, is moved, or comes.
        self.room = asyncio.Event()

    def start(self) -> None:
        """Begin, if it has not."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="fetching")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            await cancel(self._task)

    async def _run(self) -> None:
        while True:
            try:
                async with connect(self._engine.bootstrap, list(self._engine.sources)) as reader:
                    await self._fetch(reader)
            except Exception as exc:  # whatever it is, what was not fetched is asked for again
                logger.warning("events could not be fetched: %r; trying again", exc)
                await asyncio.sleep(RETRY_SECONDS)

    async def _fetch(self, reader: Reader) -> None:
        following: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                partitions = self._engine.partitions
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
            led = reader.by_leader(TopicPartition(*tp) for tp in self._engine.partitions).get(node, ())
            wanted = [tp for tp in led if not self._engine.partitions[tp].full]
            if wanted:
                await self._ask(reader, node, wanted, busy=len(wanted) < len(led))
            else:
                await self.room.wait()

    async def _ask(self, reader: Reader, node: int, tps: list[TopicPartition], *, busy: bool) -> None:
        began, partitions = time.monotonic(), self._engine.partitions
        asked = {tp: (partition := partitions[tp], partition.incoming.tag) for tp in tps}
        offsets = {tp: partition.incoming.next for tp, (partition, _) in asked.items()}
        answers = await reader.ask(node, offsets, wait_ms=BUSY_MS if busy else IDLE_MS)
        failed = not answers
        for tp, answer in answers.items():
            partition, tag = asked[tp]
            if partitions.get(tp) is not partition or partition.incoming.tag != tag:
                continue  # it was moved, or is not ours any more
            if answer.error is not None and answer.error.retriable:
                failed = True
                continue
            try:
                if answer.error is not None:
                    raise answer.error
                partition.incoming.add(answer)
            except KafkaError as exc:
                partition.incoming.failure = exc
            if partition.incoming or partition.incoming.failure:
                self._engine.turns.call(tp.topic)
        pause = RETRY_SECONDS if failed else began + PACE_SECONDS - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
