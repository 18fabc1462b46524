"""Where a worker's CPU time goes: `python -m bench.profile`."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from bench.command import Bench, bench, leave, table, verdict, workload
from bench.load import check, fill
from bench.service import Drain, Service
from bench.worker import BenchError

SAMPLES_A_SECOND = 200
STOP_SECONDS = 60

# By what a frame, `function (file:line)`, contains. The innermost frame that belongs to a stage decides.
STAGES = {
    "fetch": ("kafka/fetch.py", "engine/fetch", "aiokafka/consumer/", "zstd_decode"),
    "decode": ("Decoder.many", "_seconds (millstream/serde/json.py", "event_time (millstream/records.py"),
    "validate": (
        "engine/error_handling.py",
        "engine/error_policy.py",
        "engine/decoding.py",
        "Offering.begin",
    ),
    "deduplicate": ("millstream/tables/dedup.py",),
    "rules": ("agents/", "models/", "Batch.pick"),
    "windows and totals": ("tables/window", "tables/totals.py", "tables/aggregates.py"),
    "encode": ("Commit.send",),
    "append": (
        "append (millstream/kafka/producer.py",
        "Outputs.records",
        "Delivery._targets",
        "Commit.dead_letter",
    ),
    "compress": ("zstd_encode",),
    "send": ("aiokafka/",),
    "commit": (
        "millstream/state/state.py",
        "millstream/state/log.py",
        "millstream/state/kafka_log.py",
        "engine/committing.py",
        "Processing.stage",
    ),
    "RocksDB, called": ("millstream/state/store.py",),
}
BACKGROUND = "RocksDB, its own threads"
REST = "Faust, asyncio, the rest"
# A thread that waits here is not at work, whatever the sampler takes it for.
IDLE = ("ServiceThread._start_thread", "Condition.wait")


@click.command()
@click.option("--events", type=click.IntRange(100_000), default=1_000_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(*, events: int, seed: int) -> None:
    """Sample a worker that drains a prefilled topic, and share its CPU time out among the stages."""
    with bench("profile") as on:
        samples, drain, background, problems = asyncio.run(_measure(on, events, seed))
        total = drain.cpu_seconds / drain.events * 1e6
        ours = total * (1 - background)
        cost = {stage: ours * count / samples.total() for stage, count in samples.items()}
        cost[BACKGROUND] = total * background
        rows = [["stage", "share", "microseconds an event"]]
        rows += [
            [stage, f"{spent / total:.1%}", f"{spent:.2f}"]
            for stage in (*STAGES, BACKGROUND, REST)
            for spent in (cost.get(stage, 0.0),)
        ]
        rows.append(["all", "100.0%", f"{total:.2f}"])
        on.publish(
            "Where a worker's CPU time goes",
            [*table(rows), "", *verdict(problems)],
            [
                f"{events:,} events drained by one worker, {drain.cpu_rate:,.0f} a CPU-second",
                f"{samples.total():,} samples of its Python threads at work, {SAMPLES_A_SECOND} a second, by "
                "py-spy, which slows it",
                "settings: Millstream's defaults",
                workload(seed),
            ],
        )
    leave(problems)


async def _measure(on: Bench, count: int, seed: int) -> tuple[Counter[str], Drain, float, list[str]]:
    raw = on.folder / "samples"
    async with Service(on.kafka, on.folder) as service:
        expected = await fill(service, count, seed)
        worker = service.start()
        await service.ready()
        spy = _spy(worker.pid, raw)
        try:
            drain = await service.drained(count)
            background = worker.thread_seconds("rocksdb") / worker.cpu_seconds()
        finally:
            spy.send_signal(signal.SIGINT)  # it writes what it has
            await asyncio.to_thread(spy.wait, STOP_SECONDS)
        if not raw.exists():
            raise BenchError("py-spy has no samples; it must be allowed to trace the worker")
        return stages(raw.read_text().splitlines()), drain, background, await check(service, expected)


def _spy(pid: int, raw: Path) -> subprocess.Popen[bytes]:
    sampler = Path(sys.executable).with_name("py-spy")
    if not sampler.exists():
        raise BenchError("py-spy is missing: `make bench-profile` installs it")
    options = ["--format", "raw", "--rate", str(SAMPLES_A_SECOND), "--output", str(raw), "--pid", str(pid)]
    return subprocess.Popen(
        [sampler, "record", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def stages(lines: Iterable[str]) -> Counter[str]:
    """Count samples by stage.

    Args:
        lines: stacks as py-spy writes them: frames, the outermost first, with semicolons, and their number.
    """
    counts: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")[::-1]
        if not frames[0].startswith(IDLE):
            counts[_stage(frames)] += int(number)
    return counts


def _stage(frames: Iterable[str]) -> str:
    for frame in frames:
        for stage, marks in STAGES.items():
            if any(mark in frame for mark in marks):
                return stage
    return REST


if __name__ == "__main__":
    main(prog_name="python -m bench.profile")
