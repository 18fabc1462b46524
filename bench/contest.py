"""One run of one contestant: fill its topic, let a worker drain it, check what came out."""

import asyncio
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from app.settings import ServiceSettings
from bench.contestants import Contestant
from bench.drain import Look, drain, gauges, settle
from bench.lookups import write_lookups
from bench.size import Size, size_of
from bench.topics import environment, topics
from bench.worker import Worker
from bench.workload import Workload
from millstream.kafka.local.net import choose_port
from millstream.sources.send import send

# Bounds on what takes a million events some ten seconds.
FILL_SECONDS = CHECK_SECONDS = 900


@dataclass(frozen=True)
class Result:
    """What a run gave; void if there are `problems`.

    Attributes:
        events: number of events in the topic.
        rate: events per second of the drain.
        cpu_rate: events per CPU-second of the worker.
        late_rate: as `rate`, from half of the events on; 0 if they were done in one go.
        late_cpu_rate: as `cpu_rate`, likewise.
        peak_rss: of the worker, in bytes.
        problems: what is wrong with its outputs, a line each.
        size: of its state at the end, if the workload tells how many rows it has.
    """

    events: int
    rate: float
    cpu_rate: float
    late_rate: float
    late_cpu_rate: float
    peak_rss: int
    problems: list[str]
    size: Size | None = None


async def run(
    contestant: Contestant, workload: Workload, count: int, seed: int, kafka: str, folder: Path
) -> Result:
    """Fill, drain and check.

    Args:
        contestant: who drains.
        workload: what.
        count: number of events.
        seed: of the events.
        kafka: addresses, host:port with commas.
        folder: existing, for the worker's data and log.

    Raises:
        BenchError: there is no result.
    """
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    command = contestant.command()
    env = environment(kafka, prefix, folder) | {
        "MILLSTREAM_WEB_PORT": str(choose_port(None, None)),
        "BENCH_DEDUP_SECONDS": f"{ServiceSettings.model_fields['dedup_ttl'].default.total_seconds():.0f}",
        **write_lookups(folder),
        **contestant.env,
    }
    async with topics(kafka, prefix, workload.app, env):
        expected = workload.expected()
        async with asyncio.timeout(FILL_SECONDS):
            events = expected.watch(workload.events(count, seed), time.time())
            await send(events, bootstrap=kafka, topic=f"{prefix}{workload.source}")
        group = env["MILLSTREAM_APP_ID"]
        async with gauges(kafka, group, prefix, workload, onward=contestant.onward) as gauge:
            worker = Worker(command, env, folder / "worker.log")
            try:
                if contestant.by_commits:
                    more = expected.outputs if contestant.onward else 0
                    drained = await drain(worker, gauge.committed, count + more)
                else:
                    drained = await drain(worker, gauge.sent, expected.outputs)
                peak = worker.peak_rss()
                # What it sent last may still be on its way.
                await settle(worker, gauge.ends)
            finally:
                worker.stop()
        async with asyncio.timeout(CHECK_SECONDS):
            problems = await expected.problems(kafka, prefix)
            rows = expected.rows
            size = await size_of(kafka, prefix, folder, rows) if rows else None
    each = count / drained.total
    rates = (*_rates(drained.first, drained.last, each), *_rates(drained.middle, drained.last, each))
    return Result(count, *rates, peak, problems, size)


def _rates(start: Look, end: Look, each: float) -> tuple[float, float]:
    """Events per second and per CPU-second; what was done counts as `each` events. 0 if nothing was."""
    done = each * (end.done - start.done)
    seconds, cpu_seconds = end.at - start.at, end.cpu - start.cpu
    return (done / seconds, done / cpu_seconds) if done > 0 and cpu_seconds else (0, 0)
