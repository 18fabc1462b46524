"""What a large state costs: `python -m bench.growth`."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import click

from bench.command import Bench, bench, leave, table, verdict, workload
from bench.drain import STALL_SECONDS
from bench.load import check, fill
from bench.service import LOOK_SECONDS, Drain, Mark, Service
from bench.worker import BenchError

MILLION = 1_000_000
# Records for one id: the others are repeated or invalid.
RECORDS = 1.07
# All events lie in so much event time, less than an id is remembered for; at this rate if they are fewer.
LIVE_SECONDS = 500
RATE = 50_000
# Ids before and after a point that its rate is measured over: at least so many, and this share of those that
# it is of, since RocksDB compacts a partition each time that some million have come.
AROUND = 500_000
AROUND_SHARE = 0.2
# So many times as many come after the last point: partitions differ, and at the end some have no work.
BEYOND = 1.2
FALL, FALL_FROM, FALL_TO = 0.25, 1.0, 10.0
RSS_MIB = 500


@dataclass(frozen=True)
class Sample:
    """A look at the worker: ids in its table, how far it is, and its memory in bytes."""

    ids: int
    mark: Mark
    rss: int


@dataclass(frozen=True)
class Point:
    """What was measured around a number of live ids.

    Attributes:
        millions: the number.
        drain: of the events around it.
        rss: memory there, in bytes.
    """

    millions: float
    drain: Drain
    rss: int


@dataclass(frozen=True)
class Restore:
    """What was measured with an empty data directory.

    Attributes:
        ids: in the state, at the end.
        seconds: it took.
        cpu_seconds: the worker's meanwhile.
        rss: memory at the end, in bytes.
    """

    ids: int
    seconds: float
    cpu_seconds: float
    rss: int


@click.command()
@click.option(
    "--millions", default="1,5,10,20", show_default=True, help="Live ids to measure at, in millions."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(*, millions: str, seed: int) -> None:
    """Measure one worker's drain rate and memory at growing numbers of live ids, then their restore.

    The time to live is the default; the events lie close enough in event time that no id expires. Ten
    million ids take some GiB of disk, in Kafka and in RocksDB.
    """
    try:
        points = sorted(float(number) for number in millions.split(","))
    except ValueError:
        raise click.BadParameter("write millions with commas: 1,5") from None
    if points[0] <= 0:
        raise click.BadParameter("numbers of ids are above 0")
    with bench("growth") as on:
        found, peak, restore, problems = asyncio.run(_measure(on, points, seed))
        _publish(on, found, peak, restore, problems, seed)
    leave(problems)


async def _measure(
    on: Bench, points: Sequence[float], seed: int
) -> tuple[list[Point], int, Restore, list[str]]:
    count = _events(points)
    async with Service(on.kafka, on.folder) as service:
        click.echo(f"filling in {count:,} events…", err=True)
        expected = await fill(service, count, seed, _rate(points))
        worker = service.start()
        await service.ready()
        samples: list[Sample] = []
        async for mark in service.marks(count):
            ids = await _ids(service)
            if len(samples) % 50 == 0:
                click.echo(f"{ids:,} ids, {worker.rss() / 2**20:,.0f} MiB", err=True)
            samples.append(Sample(ids, mark, worker.rss()))
        peak = worker.peak_rss()
        found = [_point(samples, number) for number in points]
        await service.stop()
        click.echo("checking, then restoring…", err=True)
        problems = await check(service, expected)
        await service.lose_state()
        restore = await _restore(service)
    for what, ids in (("in the table", samples[-1].ids), ("restored", restore.ids)):
        if ids != len(expected.ids):
            problems.append(f"ids {what}: {ids:,}, expected {len(expected.ids):,}")
    return found, peak, restore, problems


def _around(ids: float) -> float:
    """Return how many ids before and after so many their rate is measured over."""
    return min(max(AROUND, ids * AROUND_SHARE), ids / 2)


def _events(points: Sequence[float]) -> int:
    """Return how many events it takes."""
    ids = points[-1] * MILLION
    return int((ids + BEYOND * _around(ids)) * RECORDS)


def _rate(points: Sequence[float]) -> float:
    """Return events per second of event time."""
    return max(RATE, _events(points) / LIVE_SECONDS)


def _point(samples: Sequence[Sample], millions: float) -> Point:
    ids = millions * MILLION
    around = _around(ids)
    inside = [sample.mark for sample in samples if abs(sample.ids - ids) <= around]
    if len(inside) < 2:
        raise BenchError(f"the worker was too fast around {ids:,.0f} ids to be looked at: give more")
    rss = next(sample.rss for sample in samples if sample.ids >= ids)
    return Point(millions, Drain.between(inside[0], inside[-1]), rss)


async def _ids(service: Service) -> int:
    """Count the ids that the worker has seen, none of which has expired."""
    found = await service.ask("/tables")
    return sum(entry["first_sightings"] for entry in found["tables"] if entry["name"] == "seen")


async def _restore(service: Service) -> Restore:
    """Start a worker without a state, and wait until it has one."""
    worker = service.start()
    deadline = time.monotonic() + STALL_SECONDS
    status, began, cpu = "", 0.0, 0.0
    while status != "ok":
        if not began and time.monotonic() > deadline:
            raise BenchError(f"nothing is restored:\n{worker.last_words()}")
        await asyncio.sleep(LOOK_SECONDS / 4)
        status = (await service.ask("/health")).get("status", "")
        if status == "restoring" and not began:
            began, cpu = time.monotonic(), worker.cpu_seconds()
    if not began:
        raise BenchError("the restore was over before it could be looked at: give more ids")
    seconds, cpu = time.monotonic() - began, worker.cpu_seconds() - cpu
    return Restore(await _ids(service), seconds, cpu, worker.rss())


def _publish(
    on: Bench, points: Sequence[Point], peak: int, restore: Restore, problems: Sequence[str], seed: int
) -> None:
    first = points[0].drain
    rows = [["live ids, millions", "events/s", "events per CPU-second", "to the first", "RSS, MiB"]]
    rows += [
        [
            f"{point.millions:g}",
            f"{point.drain.rate:,.0f}",
            f"{point.drain.cpu_rate:,.0f}",
            f"{point.drain.cpu_rate / first.cpu_rate - 1:+.0%}",
            f"{point.rss / 2**20:,.0f}",
        ]
        for point in points
    ]
    on.publish(
        "Growth: one worker with many live ids",
        [
            *table(rows),
            "",
            f"Peak RSS: {peak / 2**20:,.0f} MiB.",
            "",
            f"Restored into an empty directory: {restore.ids:,} ids in {restore.seconds:,.1f} s, "
            f"{restore.ids / restore.seconds:,.0f} ids/s, {restore.ids / restore.cpu_seconds:,.0f} per "
            f"CPU-second; RSS then {restore.rss / 2**20:,.0f} MiB.",
            "",
            *_verdicts(points),
            *verdict(problems),
        ],
        [
            "one drain of a prefilled topic; the rate at a number of ids is that of the events from so many "
            "before it to as many after it: "
            + ", ".join(f"{_around(point.millions * MILLION):,.0f}" for point in points),
            "RSS: of the worker's process, when it has the ids; neither the broker nor the files' cache",
            "restore: from the first look that finds the worker restoring to the first that finds it ready",
            "settings: Millstream's defaults",
            workload(seed, f"{_rate([point.millions for point in points]):,.0f}"),
        ],
    )


def _verdicts(points: Sequence[Point]) -> list[str]:
    known = {point.millions: point for point in points}
    lines = []
    if FALL_FROM in known and FALL_TO in known:
        start, end = known[FALL_FROM].drain, known[FALL_TO].drain
        fall = 1 - min(end.rate / start.rate, end.cpu_rate / start.cpu_rate)
        above = "" if fall < FALL else "ABOVE THE LIMIT: "
        lines += [
            f"{above}from {FALL_FROM:g} to {FALL_TO:g} million ids the rate falls by {fall:.0%} (the worse "
            f"of the two rates); {FALL:.0%} is the limit.",
            "",
        ]
    if FALL_TO in known:
        rss = known[FALL_TO].rss / 2**20
        above = "" if rss <= RSS_MIB else "ABOVE THE LIMIT: "
        lines += [f"{above}{rss:,.0f} MiB at {FALL_TO:g} million ids; {RSS_MIB} MiB is the limit.", ""]
    return lines


if __name__ == "__main__":
    main(prog_name="python -m bench.growth")
