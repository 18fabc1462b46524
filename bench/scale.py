"""What more workers cost and give: `python -m bench.scale`."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click

from bench.capacity import Watch, capacity
from bench.command import Bench, bench, helpers, leave, table, verdict, workload
from bench.feed import Feeder
from bench.load import check, drain
from bench.service import Drain, Service

PARTITIONS = {"MILLSTREAM_PARTITIONS": "8"}
NO_STANDBYS = {"MILLSTREAM_STANDBYS": "0"}
SPREAD = 0.15


@dataclass(frozen=True)
class Scale:
    """What was measured with some workers.

    Attributes:
        workers: how many.
        drains: of a prefilled topic.
        bare: the same without standbys.
        capacity: the highest load whose lag stayed flat, events a second.
        lag: mean lag under it, in seconds.
    """

    workers: int
    drains: Sequence[Drain]
    bare: Sequence[Drain]
    capacity: float
    lag: float


@click.command()
@click.option("--events", type=click.IntRange(10_000), default=1_000_000, show_default=True, help="Drained.")
@click.option("--workers", default="1,2,4", show_default=True, help="Numbers of workers.")
@click.option("--repeat", type=click.IntRange(1), default=3, show_default=True, help="Drains of each.")
@click.option("--warm-seconds", type=click.IntRange(1), default=Watch.warm, show_default=True)
@click.option(
    "--seconds",
    type=click.IntRange(2),
    default=Watch.seconds,
    show_default=True,
    help="Lag watched of a load.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(*, events: int, workers: str, repeat: int, warm_seconds: int, seconds: int, seed: int) -> None:
    """Measure CPU per event and capacity of some numbers of workers, over 8 partitions.

    CPU: all workers together drain a prefilled topic. Capacity: the highest load, found by bisection, that
    does not wait for the workers and whose lag stays flat.
    """
    try:
        numbers = [int(number) for number in workers.split(",")]
    except ValueError:
        raise click.BadParameter("write numbers with commas: 1,2,4") from None
    watch = Watch(warm_seconds, seconds)
    with bench("scale") as on:
        scales, problems = asyncio.run(_measure(on, numbers, events, repeat, watch, seed))
        _publish(on, scales, problems, watch, seed)
    leave(problems)


async def _measure(
    on: Bench, numbers: Sequence[int], events: int, repeat: int, watch: Watch, seed: int
) -> tuple[list[Scale], list[str]]:
    drains: dict[tuple[int, bool], list[Drain]] = {}
    problems = []
    for run in range(repeat):  # in turn: what changes on the machine changes for all
        for number in numbers:
            for bare in (False, True) if number > 1 else (False,):
                click.echo(f"{_name(number)}{', no standbys' if bare else ''}: ", nl=False, err=True)
                settings = PARTITIONS | (NO_STANDBYS if bare else {})
                folder = on.folder / f"{run}-{number}-{bare}"
                drained, wrong = await drain(on.kafka, folder, events, seed, number, **settings)
                click.echo(f"{drained.cpu_rate:,.0f} events per CPU-second", err=True)
                drains.setdefault((number, bare), []).append(drained)
                problems += wrong
    scales = []
    with helpers(1) as pool:
        for number in numbers:
            plain = drains[number, False]
            folder = on.folder / f"capacity-{number}"
            click.echo(f"{_name(number)}:", err=True)
            highest, behind, wrong = await _capacity(
                on.kafka, folder, pool, number, median(drained.rate for drained in plain), watch, seed
            )
            problems += wrong
            scales.append(Scale(number, plain, drains.get((number, True), plain), highest, behind))
    return scales, problems


async def _capacity(
    kafka: str, folder: Path, pool: Executor, workers: int, drained: float, watch: Watch, seed: int
) -> tuple[float, float, list[str]]:
    """Return the highest load that the lag stays flat under, that lag in seconds, and what is wrong."""
    async with Service(kafka, folder, **PARTITIONS) as service:
        feeder = Feeder(seed, service.partitions)
        for _ in range(workers):
            service.start()
        await service.ready()
        highest, behind = await capacity(service, pool, feeder, folder / "feed", drained, watch)
        return highest, behind, await check(service, feeder.expected, workers)


def _name(workers: int) -> str:
    return "1 worker" if workers == 1 else f"{workers} workers"


def _publish(on: Bench, scales: Sequence[Scale], problems: Sequence[str], watch: Watch, seed: int) -> None:
    first = scales[0]
    rows = [
        [
            "workers",
            "events per CPU-second",
            "to the first",
            "without standbys",
            "to the first",
            "drain, events/s",
            "capacity, events/s",
            "lag under it, ms",
        ]
    ]
    rows += [
        [
            f"{scale.workers}",
            f"{_cpu(scale.drains):,.0f}",
            f"{_cpu(scale.drains) / _cpu(first.drains) - 1:+.0%}",
            f"{_cpu(scale.bare):,.0f}",
            f"{_cpu(scale.bare) / _cpu(first.bare) - 1:+.0%}",
            f"{median(drained.rate for drained in scale.drains):,.0f}",
            f"{scale.capacity:,.0f}",
            f"{1000 * scale.lag:,.0f}",
        ]
        for scale in scales
    ]
    on.publish(
        "Scale: workers over 8 partitions",
        [*table(rows), "", _spread(scales), "", *verdict(problems)],
        [
            "events per CPU-second: of all workers together, on a prefilled topic, from when each has its "
            f"share of the partitions to the end; medians of {len(first.drains)}",
            "outputs: those of several workers are counted after repeats of the same origin are left out, as "
            "Millstream promises them: while all start, partitions change hands",
            "standbys: by default another worker, where there is one, keeps a warm copy of each partition's "
            "state; without them (MILLSTREAM_STANDBYS=0) each event is worked on by one worker only",
            watch.meaning,
            "wall rates, drain and capacity, mean little where the workers, the broker and the sender share "
            "few cores: more workers cannot be faster than the machine; CPU per event says what they cost",
            "settings: Millstream's defaults, but for 8 partitions",
            workload(seed),
        ],
    )


def _cpu(drains: Sequence[Drain]) -> float:
    return median(drained.cpu_rate for drained in drains)


def _spread(scales: Sequence[Scale]) -> str:
    bare = _differs([_cpu(scale.bare) for scale in scales])
    plain = _differs([_cpu(scale.drains) for scale in scales])
    return (
        f"CPU per event differs by {bare} without standbys, by {plain} with them, which a single worker has "
        f"none of; {SPREAD:.0%} is the limit."
    )


def _differs(rates: Sequence[float]) -> str:
    spread = max(rates) / min(rates) - 1
    return f"{spread:.0%}{'' if spread <= SPREAD else ' (ABOVE THE LIMIT)'}"


if __name__ == "__main__":
    main(prog_name="python -m bench.scale")
