"""The watchdog: it ends a worker that makes no progress, so that its orchestrator starts it again."""

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.types import TP

from millstream.aio import cancel
from millstream.engine.engine import Engine
from millstream.engine.shutdown import dump_stacks
from millstream.kafka.fetch import LATEST, Reader, connect

logger = logging.getLogger(__name__)

EXIT_BLOCKED = 4
# Time limit for Kafka's answer; while Kafka does not answer, a lack of progress is not the worker's fault.
ANSWER_SECONDS = 10.0


class Watchdog:
    """Ends the process if the event loop, the consumer's thread, a rebalance or a partition is stuck.

    Args:
        engine: the engine to watch.
        seconds: time limit without progress.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._interval = min(5.0, seconds / 4)
        self._pulse = time.monotonic()
        self._since: dict[Any, tuple[Any, float]] = {}
        self._stopped = threading.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start watching."""
        self._pulse = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._beat(), name="watchdog pulse"),
            asyncio.create_task(self._watch(), name="watchdog"),
        ]
        threading.Thread(target=self._guard, name="watchdog", daemon=True).start()

    async def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        for task in self._tasks:
            await cancel(task)

    async def _beat(self) -> None:
        while True:
            self._pulse = time.monotonic()
            await asyncio.sleep(pause := min(1.0, self._interval))
            self._engine.loop_lag.observe(max(0.0, time.monotonic() - self._pulse - pause))

    def _guard(self) -> None:
        """Watch the event loop, in a separate thread."""
        while not self._stopped.wait(min(1.0, self._interval)):
            silent = time.monotonic() - self._pulse
            if silent > self._seconds:
                logger.critical("worker stops: the event loop has been blocked for %.0f s", silent)
                dump_stacks()
                os._exit(EXIT_BLOCKED)

    async def _watch(self) -> None:
        while True:
            try:
                topics = list(self._engine.sources)
                async with connect(self._engine.bootstrap, topics) as reader:
                    while True:
                        await asyncio.sleep(self._interval)
                        why = await self._stands_still(reader)
                        if why is not None:
                            await self._end(why)
            except (KafkaError, TimeoutError) as exc:
                logger.warning("watchdog: Kafka does not answer: %r", exc)
                self._since.clear()
                await asyncio.sleep(self._interval)
            except Exception:  # a bug here must not leave the worker unwatched
                logger.exception("watchdog: failed, restarting")
                await asyncio.sleep(self._interval)

    async def _stands_still(self, reader: Reader) -> str | None:
        engine = self._engine
        sources = {TopicPartition(*tp): tp for tp in engine.partitions}
        async with asyncio.timeout(ANSWER_SECONDS):
            ends = await reader.offsets(sources, LATEST)
        for source, end in ends.items():
            tp = sources[source]
            engine.ends[tp] = end
            partition = engine.partitions.get(tp)
            if partition is None:
                continue
            restoring = partition.restore_progress
            busy = restoring is not None or end > (partition.committed or 0)
            mark = (id(partition), partition.committed, restoring) if busy else None
            if (still := self._still(tp, mark)) > self._seconds:
                at = f"offset {partition.committed} of {end}"
                if restoring is not None:
                    at = f"{restoring} of its state log"
                return f"{partition.name} has stood still for {still:.0f} s, at {at}"
        if (still := self._still("join", None if engine.at_work else "away")) > self._seconds:
            return f"the consumer group has not assigned partitions to this worker for {still:.0f} s"
        # aiokafka's coordinator may wait forever for metadata, if a broker died at the wrong moment.
        silent = engine.at_work and not engine.lease.holds
        if (still := self._still("group", "silent" if silent else None)) > self._seconds:
            return f"the consumer group has answered no heartbeat for {still:.0f} s"
        if not await self._consumer_answers():
            return f"the consumer's thread has not answered for {self._seconds:.0f} s"
        return None

    def _still(self, what: TP | str, mark: Any) -> float:
        """Return for how many seconds something has had the same mark; None means that it is fine."""
        now = time.monotonic()
        before, since = self._since.get(what, (None, now))
        if mark is None or mark != before:
            since = now
        self._since[what] = (mark, since)
        return now - since

    async def _consumer_answers(self) -> bool:
        thread = self._engine.app.consumer._thread
        if thread._thread is None:  # not started yet
            return True
        if not thread._thread.is_alive():
            return False
        try:
            async with asyncio.timeout(self._seconds):
                await thread.call_thread(_answer)
        except TimeoutError:
            return False
        return True

    async def _end(self, why: str) -> None:
        dump_stacks()
        for task in asyncio.all_tasks():
            print(f"Task {task.get_name()}, waiting at:", *_awaited(task), sep="\n  ", file=sys.__stderr__)
        await self._engine.stop_worker(why)


def _awaited(task: asyncio.Task[Any]) -> Iterator[str]:
    """Yield where a task waits, innermost last; its own stack has only the outermost coroutine."""
    waiting: Any = task.get_coro()
    while waiting is not None:
        if type(waiting).__name__ == "coroutine_wrapper":  # of `__await__`, without attributes
            waiting = next(iter(gc.get_referents(waiting)), None)
        for kind in ("cr", "ag", "gi"):
            frame = getattr(waiting, f"{kind}_frame", None)
            if frame is not None:
                yield f'File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}'
        waiting = next((w for name in _WAITS if (w := getattr(waiting, name, None)) is not None), None)


_WAITS = ("cr_await", "ag_await", "gi_yieldfrom")


async def _answer() -> None:
    """Do nothing, in the consumer's thread."""
