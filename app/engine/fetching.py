"""What the worker's partitions have room for is fetched, on the event loop that processes it.

aiokafka's consumer fetches again only when all that it has is taken, and Faust takes it in another thread:
under a load each record waits for both, and both threads for the interpreter's lock.
"""

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from app.engine.fetch import RETRY_SECONDS, Reader, connect

if TYPE_CHECKING:
    from app.engine.engine import Engine

logger = logging.getLogger(__name__)

# How long a leader without new records may wait for one.
IDLE_MS = 500
# The same while another of its partitions is full: that one soon has room, and must not wait for the idle.
BUSY_MS = 10
# Fetches of a leader begin at least so far apart: a batch costs half a millisecond however small it is.
PACE_SECONDS = 0.002

UNKNOWN = -1  # no leader has this number


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
            # Again and again: aiokafka's clients swallow a cancellation that comes while they are closed.
            while not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=1)

    async def _run(self) -> None:
        while True:
            try:
                async with connect(self._engine.bootstrap, list(self._engine.sources)) as reader:
                    await self._fetch(reader)
            except Exception as exc:  # whatever it is, what was not fetched is asked for again
                logger.warning("events could not be fetched: %r; trying again", exc)
                await asyncio.sleep(RETRY_SECONDS)

    async def _fetch(self, reader: Reader) -> None:
        asking: dict[int, asyncio.Task[None]] = {}
        room: asyncio.Task[bool] | None = None
        try:
            while True:
                self.room.clear()
                wanted = {tp: p for tp, p in self._engine.partitions.items() if not p.full}
                leaders = reader.by_leader(TopicPartition(*tp) for tp in wanted)
                for node, part in leaders.items():
                    if node not in asking:
                        asking[node] = asyncio.create_task(self._ask(reader, node, part))
                if sum(map(len, leaders.values())) < len(wanted) and UNKNOWN not in asking:
                    asking[UNKNOWN] = asyncio.create_task(_find_leaders(reader))
                if room is None or room.done():
                    room = asyncio.create_task(self.room.wait())
                await asyncio.wait([room, *asking.values()], return_when=asyncio.FIRST_COMPLETED)
                for node in [node for node, task in asking.items() if task.done()]:
                    asking.pop(node).result()
        finally:
            for task in filter(None, [room, *asking.values()]):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _ask(self, reader: Reader, node: int, tps: list[TopicPartition]) -> None:
        began, partitions = time.monotonic(), self._engine.partitions
        asked = {tp: (partition := partitions[tp], partition.incoming.tag) for tp in tps}
        offsets = {tp: partition.incoming.next for tp, (partition, _) in asked.items()}
        busy = len(asked) < len(reader.by_leader(TopicPartition(*tp) for tp in partitions).get(node, ()))
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
        self._engine.turns.call()
        pause = RETRY_SECONDS if failed else began + PACE_SECONDS - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)


async def _find_leaders(reader: Reader) -> None:
    await asyncio.sleep(RETRY_SECONDS)
    await reader.refresh()
