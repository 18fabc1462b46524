"""One run of one contestant: fill its topic, let a worker drain it, check what came out."""

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from app.kafka.net import choose_port
from app.sources.send import send
from bench.drain import drain, gauges
from bench.expected import Expected, events
from bench.worker import ROOT, BenchError, Worker

COMMAND_SECONDS = 60
# Bounds on what takes a million events some ten seconds.
FILL_SECONDS = CHECK_SECONDS = 900


@dataclass(frozen=True)
class Contestant:
    """Who drains.

    Attributes:
        name: for the table.
        app: module with the Faust app.
        by_commits: whether it is measured by its committed offsets, else by its enriched events.
    """

    name: str
    app: str
    by_commits: bool


# Millrace is measured by what it has committed, outputs, tables and offsets. Plain Faust commits its offsets
# every 2.8 s, behind what it has done: it is measured by the enriched events that have reached Kafka, which
# is as early as its work can be seen.
MILLRACE = Contestant("Millrace", "app", by_commits=True)
PLAIN = Contestant("plain Faust", "bench.plain", by_commits=False)


@dataclass(frozen=True)
class Result:
    """What a run gave; void if there are `problems`.

    Attributes:
        events: number of events in the topic.
        rate: events per second of the drain.
        cpu_rate: events per CPU-second of the worker.
        peak_rss: of the worker, in bytes.
        problems: what is wrong with its outputs, a line each.
    """

    events: int
    rate: float
    cpu_rate: float
    peak_rss: int
    problems: list[str]


async def run(contestant: Contestant, count: int, seed: int, kafka: str, folder: Path) -> Result:
    """Fill, drain and check.

    Args:
        contestant: who drains.
        count: number of events.
        seed: of the events.
        kafka: addresses, host:port with commas.
        folder: existing, for the worker's data and log.

    Raises:
        BenchError: there is no result.
    """
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    group = f"{prefix}app"
    # Nothing is tuned, also not by who calls us.
    env = {name: value for name, value in os.environ.items() if not name.startswith("MILLRACE_")}
    env |= {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MILLRACE_TOPIC_PREFIX": prefix,
        "MILLRACE_APP_ID": group,
        "MILLRACE_STATE_DIR": str(folder),
        "MILLRACE_WEB_PORT": str(choose_port(None, None)),
    }
    source, output = f"{prefix}activity.raw", f"{prefix}activity.enriched"
    async with _topics(kafka, prefix, env):
        expected = Expected()
        async with asyncio.timeout(FILL_SECONDS):
            await send(expected.watch(events(count, seed), time.time()), bootstrap=kafka, topic=source)
        async with gauges(kafka, group, source, output) as (committed, sent):
            worker = Worker(contestant.app, env, folder / "worker.log")
            try:
                if contestant.by_commits:
                    drained = await drain(worker, committed, count)
                else:
                    drained = await drain(worker, sent, len(expected.ids))
                peak = worker.peak_rss()
                # What it sent last may still be on its way.
                await drain(worker, committed, count)
            finally:
                worker.stop()
        async with asyncio.timeout(CHECK_SECONDS):
            problems = await expected.problems(kafka, prefix)
    if not drained.cpu_seconds:
        raise BenchError(f"{count:,} events were done at the first look: give {contestant.name} more")
    done = count * drained.share
    return Result(count, done / drained.seconds, done / drained.cpu_seconds, peak, problems)


@asynccontextmanager
async def _topics(kafka: str, prefix: str, env: dict[str, str]) -> AsyncIterator[None]:
    """Create the service's topics, and delete whatever is behind the prefix afterwards."""
    try:
        await asyncio.to_thread(_create, env)
        yield
    finally:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(prefix)])
        finally:
            await admin.close()


def _create(env: dict[str, str]) -> None:
    command = [sys.executable, "-m", "app", "topics"]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    if done.returncode:
        raise BenchError(f"`millrace topics` failed: {done.stdout}{done.stderr}")
