"""A Millstream service under test: real worker processes on a real Kafka, with topics of their own."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import ConsumerRecord, TopicPartition

from millstream.kafka.local.net import is_free
from millstream.kafka.reading import records

# Below the range for outgoing connections, of which one may take a port before its worker does.
PORTS = range(10_000, 20_000)


def free_port() -> int:
    for port in random.sample(PORTS, 100):
        if is_free(port):
            return port
    raise AssertionError("no port is free")


class Worker:
    """One worker process; `log` is what it prints, `headers` are sent with each request."""

    def __init__(self, service: "Service", name: str, **settings: str) -> None:
        self.name = name
        self.port = free_port()
        self.headers: dict[str, str] = {}
        self.log = service.folder / f"worker-{name}.log"
        env = service.env | {"MILLSTREAM_WORKER": name, "MILLSTREAM_WEB_PORT": str(self.port)} | settings
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faust", "-A", service.app, "worker", "-l", "info"],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=service.home,
            )

    def get(self, path: str, **params: Any) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        return httpx.get(url, params=params or None, headers=self.headers, timeout=30)

    def wait_ready(self, seconds: float = 60) -> "Worker":
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"worker ended:\n{self.log.read_text()[-3000:]}"
            try:
                if self.get("/health").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"worker is not ready after {seconds} s:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


class Service:
    """Topics behind a prefix, a group, a state folder; and the workers that were started.

    Args:
        kafka: addresses, host:port with commas.
        folder: for state and logs.
        app: module of the App.
        source: the source topic that is meant where none is named.
        home: working directory of the workers and commands; None for that of the tests.
    """

    def __init__(
        self, kafka: str, folder: Path, app: str, source: str = "", home: Path | None = None
    ) -> None:
        self.kafka = kafka
        self.folder = folder
        self.app = app
        self.source = source
        self.home = home
        self.prefix = f"t{uuid.uuid4().hex[:8]}."
        self.env = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "MILLSTREAM_TOPIC_PREFIX": self.prefix,
            "MILLSTREAM_APP_ID": f"{self.prefix}app",
            "MILLSTREAM_STATE_DIR": str(folder / "state"),
        }
        self.workers: list[Worker] = []
        self._started: list[Worker] = []

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._started:
            if worker.process.poll() is None:
                worker.kill()

    def worker(self, name: str = "0", **settings: str) -> Worker:
        worker = Worker(self, name, **settings)
        self.workers.append(worker)
        self._started.append(worker)
        return worker

    def command(self, *args: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run `millstream …` and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "millstream", "-A", self.app, *args],
            env=self.env | settings,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, f"{args}: {done.stdout}\n{done.stderr}"
        return done

    def topic(self, name: str) -> str:
        return f"{self.prefix}{name}"

    def send(self, topic: str, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Produce keys and values, in order."""
        asyncio.run(self._send(self.topic(topic), list(messages)))

    async def _send(self, topic: str, messages: list[tuple[bytes | None, bytes | None]]) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka, acks="all", enable_idempotence=True, max_request_size=2_000_000
        )
        await producer.start()
        try:
            await asyncio.gather(*[await producer.send(topic, value, key=key) for key, value in messages])
        finally:
            await producer.stop()

    def read(self, topic: str) -> list[ConsumerRecord]:
        """Return all records of a topic, in order within each partition."""

        async def collect() -> list[ConsumerRecord]:
            return [record async for record in records(self.kafka, self.topic(topic))]

        return asyncio.run(collect())

    def read_once(self, topic: str) -> list[ConsumerRecord]:
        """Return the records of a topic without the repeats of a crash (same key, origin and value)."""
        once = {(r.key, dict(r.headers)["origin"], r.value): r for r in self.read(topic)}
        return list(once.values())

    @contextmanager
    def watch(self, topic: str) -> Iterator[Callable[[], int]]:
        """Give a function that returns how many records a topic has, within a few milliseconds."""
        partitions = [TopicPartition(self.topic(topic), n) for n in range(4)]

        async def start() -> AIOKafkaConsumer:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
            await consumer.start()
            return consumer

        with asyncio.Runner() as loop:
            consumer = loop.run(start())
            try:
                yield lambda: sum(loop.run(consumer.end_offsets(partitions)).values())
            finally:
                loop.run(consumer.stop())

    def lag(self, topic: str = "") -> int:
        """Return how many events of a topic are not committed yet."""
        name = self.topic(topic or self.source)

        async def ask() -> int:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.kafka, group_id=self.env["MILLSTREAM_APP_ID"], enable_auto_commit=False
            )
            await consumer.start()
            try:
                partitions = [TopicPartition(name, n) for n in range(4)]
                ends = await consumer.end_offsets(partitions)
                return sum([ends[p] - (await consumer.committed(p) or 0) for p in partitions])
            finally:
                await consumer.stop()

        return asyncio.run(ask())

    def wait_done(self, seconds: float = 120, topic: str = "") -> None:
        """Wait until everything that was sent is processed and committed."""
        deadline = time.monotonic() + seconds
        while (lag := self.lag(topic)) > 0:
            assert time.monotonic() < deadline, f"{lag} events are not processed after {seconds} s"
            for worker in self.workers:
                assert worker.process.poll() in (None, -9, 0), worker.log.read_text()[-3000:]
            time.sleep(0.1)
