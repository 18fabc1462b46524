"""Millstream in topics of its own: its workers, and how far they are."""

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench.contestants import MILLSTREAM
from bench.drain import STALL_SECONDS
from bench.topics import environment, topics
from bench.worker import BenchError, Worker
from millstream.kafka.local.net import choose_port

LOOK_SECONDS = 0.2
PARTITIONS = 4


@dataclass(frozen=True)
class Mark:
    """How far the workers are.

    Attributes:
        events: number of events whose state is committed.
        seconds: when, on the monotonic clock.
        cpu_seconds: CPU time of all workers so far.
    """

    events: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Drain:
    """What lies between two marks; see `Mark`."""

    events: int
    seconds: float
    cpu_seconds: float

    @classmethod
    def between(cls, first: Mark, last: Mark) -> "Drain":
        """Take the differences.

        Raises:
            BenchError: there is nothing between them.
        """
        if last.events <= first.events or last.cpu_seconds <= first.cpu_seconds:
            raise BenchError(f"{last.events:,} events were done too soon to be looked at: give more")
        return cls(
            last.events - first.events, last.seconds - first.seconds, last.cpu_seconds - first.cpu_seconds
        )

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Events a CPU-second of all workers."""
        return self.events / self.cpu_seconds


class Service:
    """Workers with default settings, on topics that are deleted afterwards.

    Args:
        kafka: addresses, host:port with commas.
        folder: for the workers' data and logs; made if missing.
        settings: Millstream's settings where they differ from the defaults, by the variables' names.

    Attributes:
        kafka: as given.
        prefix: of all its topics.
        source: topic of the raw events.
        output: topic of the enriched events.
        partitions: number of partitions of each.
        workers: those that run.
        urls: where they are asked, in the same order.
    """

    def __init__(self, kafka: str, folder: Path, **settings: str) -> None:
        folder.mkdir(exist_ok=True)
        self.kafka = kafka
        self.prefix = f"bench-{uuid.uuid4().hex[:8]}."
        self.source, self.output = f"{self.prefix}activity.raw", f"{self.prefix}activity.enriched"
        self.partitions = int(settings.get("MILLSTREAM_PARTITIONS", PARTITIONS))
        self.workers: list[Worker] = []
        self.urls: list[str] = []
        self._folder = folder
        self._env = environment(kafka, self.prefix, folder) | settings
        self._stack = AsyncExitStack()
        self._consumer: Any = None

    async def __aenter__(self) -> "Service":
        """Create the topics."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(topics(self.kafka, self.prefix, "app", self._env))
            self._http = await stack.enter_async_context(httpx.AsyncClient(timeout=30))
            self._consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, enable_auto_commit=False)
            await self._consumer.start()
            stack.push_async_callback(self._consumer.stop)
            stack.push_async_callback(self.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers and delete the topics."""
        await self._stack.aclose()

    def start(self) -> Worker:
        """Start a further worker."""
        name, port = str(len(self.workers)), choose_port(None, None)
        env = self._env | {"MILLSTREAM_WORKER": name, "MILLSTREAM_WEB_PORT": str(port)}
        worker = Worker(MILLSTREAM.command(), env, self._folder / f"worker-{name}.log")
        self.workers.append(worker)
        self.urls.append(f"http://127.0.0.1:{port}")
        return worker

    async def stop(self) -> None:
        """Stop all workers at once."""
        workers = list(self.workers)
        self.workers.clear()
        self.urls.clear()
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))

    async def lose_state(self) -> None:
        """Delete what stopped workers have on the disk."""
        await asyncio.to_thread(shutil.rmtree, self._folder / "data")

    async def ready(self) -> None:
        """Wait until all workers are at work, and each has its share of the partitions.

        Raises:
            BenchError: it takes too long, or a worker has ended.
        """
        deadline = time.monotonic() + STALL_SECONDS
        while not await self._settled():
            if time.monotonic() > deadline:
                raise BenchError(f"not ready after {STALL_SECONDS:.0f} s:\n{self.workers[0].last_words()}")
            await asyncio.sleep(LOOK_SECONDS)

    async def ask(self, path: str, worker: int = 0) -> dict[str, Any]:
        """Ask a worker for a view; an empty answer is none, since it listens not yet."""
        try:
            return dict((await self._http.get(f"{self.urls[worker]}{path}")).json())
        except httpx.TransportError:
            self.workers[worker].check()
            return {}

    async def mark(self) -> Mark:
        """Look how far the workers are."""
        healths = await asyncio.gather(*(self.ask("/health", n) for n in range(len(self.workers))))
        done = sum(part["offset"] or 0 for health in healths for part in self._parts(health))
        return Mark(done, time.monotonic(), sum(worker.cpu_seconds() for worker in self.workers))

    async def lag(self) -> int:
        """Count the events that are in the source topic and not in the state."""
        ends = await self.ends(self.source)
        return sum(ends.values()) - (await self.mark()).events

    async def ends(self, topic: str) -> dict[int, int]:
        """Offset after the last record, by partition."""
        partitions = [TopicPartition(topic, number) for number in range(self.partitions)]
        async with asyncio.timeout(STALL_SECONDS):
            ends = await self._consumer.end_offsets(partitions)
        return {partition.partition: end for partition, end in ends.items()}

    async def drained(self, total: int) -> Drain:
        """Wait until a number of events is in the state, from the beginning of the topic.

        Returns:
            From the first look that found all workers at work, and some events done, to the last but one:
            at both, what is committed is as far behind what has been worked on.

        Raises:
            BenchError: a worker ended, or all stand still, or there was too little to see.
        """
        await self.ready()
        marks = [mark async for mark in self.marks(total) if mark.events]
        return Drain.between(marks[0], marks[-2:][0])

    async def marks(self, total: int) -> AsyncIterator[Mark]:
        """Look again and again, until a number of events is in the state.

        Raises:
            BenchError: a worker ended, or all stand still.
        """
        last = await self.mark()
        yield last
        moved = last.seconds
        while last.events < total:
            await asyncio.sleep(LOOK_SECONDS)
            mark = await self.mark()
            if mark.events > last.events:
                moved = mark.seconds
                yield mark
            if mark.seconds - moved > STALL_SECONDS:
                raise BenchError(
                    f"{last.events:,} of {total:,} events for {STALL_SECONDS:.0f} s:\n"
                    f"{self.workers[0].last_words()}"
                )
            last = mark

    async def _settled(self) -> bool:
        share = self.partitions // len(self.workers)
        for worker in range(len(self.workers)):
            health = await self.ask("/health", worker)
            if health.get("status") != "ok" or len(self._parts(health)) < share:
                return False
        return True

    def _parts(self, health: dict[str, Any]) -> list[dict[str, Any]]:
        return [p for p in health.get("partitions", ()) if p["partition"].startswith(f"{self.source}/")]
