"""How long an event takes: `python -m bench.latency`."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from statistics import median

import click

from bench.capacity import Watch, capacity
from bench.command import Bench, bench, helpers, leave, table, verdict, workload
from bench.cores import busy_seconds
from bench.feed import Feeder
from bench.load import Load, check, drain, load, reading
from bench.plot import draw
from bench.prober import Probed, probe
from bench.reader import Arrivals
from bench.sender import LATE_SECONDS, LINGER_MS, Sent
from bench.service import Service
from bench.worker import BenchError

WATCH = Watch(reader=True)  # as beside the loads that are shares of it
# Linux writes to the disk what is 30 s old, some seconds late: by then that of earlier loads is written.
WARM_SECONDS = 40
PROBES = 20  # a second
QUANTILES = (0.5, 0.95, 0.99, 1.0)
NAMES = ("p50", "p95", "p99", "max")


@dataclass(frozen=True)
class Shape:
    """A load: its parts in seconds, and its sender.

    Attributes:
        warm: before anything is measured.
        read: the events that are due in it count for the latency to Kafka.
        ask: the events that are due in it may be probes for the latency to HTTP.
        linger: milliseconds that the sender lets an event wait for others.
    """

    warm: float
    read: float
    ask: float
    linger: int

    @property
    def total(self) -> float:
        """Length of the load."""
        return self.warm + self.read + self.ask


@dataclass(frozen=True)
class Level:
    """What was measured at one load.

    Attributes:
        share: of the capacity.
        rate: events a second that were due.
        kafka: milliseconds from when an event was due until it was read enriched, by `NAMES`.
        http: the same over HTTP.
        probed: what came of the probes.
        sent: what the sender did.
        worker: share of a core that the worker used.
        machine: share of all cores that were busy.
        reader: share of a core that the reader used.
    """

    share: float
    rate: float
    kafka: Sequence[float]
    http: Sequence[float]
    probed: Probed
    sent: Sent
    worker: float
    machine: float
    reader: float


@click.command()
@click.option(
    "--capacity-events",
    type=click.IntRange(10_000),
    default=400_000,
    show_default=True,
    help="Drained; where the capacity is looked for.",
)
@click.option("--shares", default="10,25,50,75,90", show_default=True, help="Loads, in % of the capacity.")
@click.option("--warm-seconds", type=click.IntRange(1), default=WARM_SECONDS, show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=20, show_default=True, help="Of each load.")
@click.option(
    "--ask-seconds", type=click.IntRange(1), default=10, show_default=True, help="Of HTTP probes after it."
)
@click.option(
    "--linger-ms",
    type=click.IntRange(0),
    default=LINGER_MS,
    show_default=True,
    help="How long the sender lets an event wait for others; it is part of the latency.",
)
@click.option(
    "--agents",
    default="activity",
    show_default=True,
    help="MILLSTREAM_AGENTS; by default those of the job that the drain rate is measured with.",
)
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Of each load; medians count."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(
    *,
    capacity_events: int,
    shares: str,
    warm_seconds: int,
    seconds: int,
    ask_seconds: int,
    linger_ms: int,
    agents: str,
    repeat: int,
    seed: int,
) -> None:
    """Measure the latency of one worker under loads that do not wait for it.

    First its drain rate on a prefilled topic, and its capacity: the highest load whose lag stays flat. Then,
    at each share of it, from when an event is due to be sent to when an ordinary consumer has read it
    enriched, and to when its id is in the table `seen` over HTTP.
    """
    try:
        wanted = [int(share) / 100 for share in shares.split(",")]
    except ValueError:
        raise click.BadParameter("write percentages with commas: 10,25,50") from None
    if find_spec("matplotlib") is None:
        raise click.ClickException("there is no matplotlib for the plot: run it with `make bench-latency`")
    shape = Shape(warm_seconds, seconds, ask_seconds, linger_ms)
    with bench("latency") as on:
        capacities, levels, problems = asyncio.run(
            _measure(on, capacity_events, wanted * repeat, shape, agents, seed)
        )
        loads = [[level for level in levels if level.share == share] for share in wanted]
        _publish(on, capacities, loads, problems, shape, agents, seed)
    leave(problems)


async def _measure(
    on: Bench, count: int, shares: Sequence[float], shape: Shape, agents: str, seed: int
) -> tuple[tuple[float, float], list[Level], list[str]]:
    click.echo(f"drain: {count:,} events… ", nl=False, err=True)
    drained, problems = await drain(on.kafka, on.folder / "capacity", count, seed, MILLSTREAM_AGENTS=agents)
    click.echo(f"{drained.rate:,.0f}/s", err=True)
    levels = []
    async with Service(on.kafka, on.folder, MILLSTREAM_AGENTS=agents) as service:
        service.start()
        feeder = Feeder(seed, service.partitions)
        await service.ready()
        with helpers(3) as pool:
            highest, _ = await capacity(service, pool, feeder, on.folder / "feed", drained.rate, WATCH)
            for share in shares:
                click.echo(f"{share:.0%}… ", nl=False, err=True)
                level = await _level(service, pool, feeder, share, share * highest, shape, on.folder)
                click.echo(f"p50 {level.kafka[0]:,.1f} ms, p99 {level.kafka[2]:,.0f} ms", err=True)
                levels.append(level)
                if level.probed.missing:
                    problems.append(f"{level.probed.missing} events were never visible over HTTP")
        return (drained.rate, highest), levels, problems + await check(service, feeder.expected)


async def _level(
    service: Service,
    pool: Executor,
    feeder: Feeder,
    share: float,
    rate: float,
    shape: Shape,
    folder: Path,
) -> Level:
    first = shape.warm + shape.read
    # Half a second short of the end: for one that is no first sighting the next is taken.
    probes = [int((first + n / PROBES) * rate) for n in range(int(PROBES * shape.ask) - PROBES // 2)]
    path, count = folder / "feed", int(shape.total * rate)
    feed = await asyncio.to_thread(feeder.feed, path, count, probes)
    async with load(service, pool, feed, rate, shape.linger) as running:
        read = reading(service, running)
        dues = [(running.due(number), key) for number, key in feed.probes]
        asking = running.beside(probe, f"{service.urls[0]}/tables/seen/", dues)
        await running.until(shape.warm)
        worker, machine = service.workers[0].cpu_seconds(), busy_seconds()
        await running.until(first)
        worker = service.workers[0].cpu_seconds() - worker
        machine = busy_seconds() - machine
    arrivals, probed = await asyncio.gather(read, asking)
    path.unlink()
    assert running.sent is not None
    latencies = await asyncio.to_thread(_latencies, running, arrivals, shape)
    if not latencies:
        raise BenchError("no enriched event was read")
    return Level(
        share,
        rate,
        _quantiles(latencies),
        _quantiles(sorted(probed.latencies)),
        probed,
        running.sent,
        worker / shape.read,
        machine / shape.read,
        arrivals.cpu_seconds / shape.total,
    )


def _latencies(running: Load, arrivals: Arrivals, shape: Shape) -> list[float]:
    first, last = shape.warm * running.rate, (shape.warm + shape.read) * running.rate
    numbers, offsets = running.feed.numbers, running.offsets
    found = []
    for partition, offset, came in zip(arrivals.partitions, arrivals.offsets, arrivals.times, strict=True):
        number = numbers[partition][offset - offsets[partition]]
        if first <= number < last:
            found.append((came - running.due(number)) / 1e9)
    return sorted(found)


def _quantile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of the values does not exceed."""
    return ascending[max(0, ceil(share * len(ascending)) - 1)]


def _quantiles(ascending: Sequence[float]) -> list[float]:
    """Return the quantiles of seconds, in milliseconds."""
    return [1000 * _quantile(ascending, share) for share in QUANTILES]


def _medians(rows: Iterable[Sequence[float]]) -> list[float]:
    """Return the median of each column."""
    return [median(column) for column in zip(*rows, strict=True)]


def _each(loads: Sequence[Sequence[Level]], of: Callable[[Level], float], form: str) -> str:
    """Return the medians of a figure at each load."""
    return ", ".join(format(median(map(of, levels)), form) for levels in loads)


def _publish(
    on: Bench,
    capacities: tuple[float, float],
    loads: Sequence[Sequence[Level]],
    problems: Sequence[str],
    shape: Shape,
    agents: str,
    seed: int,
) -> None:
    plot, (drained, highest) = on.path(".svg"), capacities
    kafka = [_medians(level.kafka for level in levels) for levels in loads]
    http = [_medians(level.http for level in levels) for levels in loads]
    draw(
        plot,
        [100 * levels[0].share for levels in loads],
        {"to a consumer of the enriched events": kafka, "to the table over HTTP": http},
        NAMES,
    )
    rows = [
        [
            "load",
            "events/s",
            "sent/s",
            "late",
            *NAMES,
            *(f"HTTP {name}" for name in NAMES),
            "worker",
            "machine",
        ]
    ]
    for levels, to_kafka, to_http in zip(loads, kafka, http, strict=True):
        rate, late, worker, machine = _medians(
            (level.sent.rate, level.sent.late, level.worker, level.machine) for level in levels
        )
        rows.append(
            [
                f"{levels[0].share:.0%}",
                f"{levels[0].rate:,.0f}",
                f"{rate:,.0f}",
                f"{late:,.0f}",
                *(f"{value:,.1f}" for value in (*to_kafka, *to_http)),
                f"{worker:.0%}",
                f"{machine:.2f}",
            ]
        )
    latest = max(level.sent.latest for levels in loads for level in levels)
    asked = _each(loads, lambda level: level.probed.asked / shape.ask, ",.0f")
    senders = _each(loads, lambda level: level.sent.cpu, ".0%")
    readers = _each(loads, lambda level: level.reader, ".0%")
    runs = [
        f"{levels[0].share:.0%}: " + ", ".join(f"{x.kafka[0]:,.1f} and {x.kafka[2]:,.1f}" for x in levels)
        for levels in loads
    ]
    on.publish(
        "Latency of one worker",
        [*table(rows), "", f"![]({plot.name})", "", *verdict(problems)],
        [
            f"loads: shares of the capacity, {highest:,.0f} events/s; from a prefilled topic one worker had "
            f"drained {drained:,.0f}/s just before",
            WATCH.meaning,
            "runs: each load in turn; in the table are medians; p50 and p99 to the consumer of each run at "
            + "; ".join(runs),
            "latency: milliseconds, from the moment when an event was due to be sent, whenever it was, to "
            f"when a consumer had it enriched (all events of {shape.read:.0f} s after {shape.warm:.0f} s "
            f"of the load), and to when its id was found in the table `seen` over HTTP ({PROBES} events a "
            f"second of the {shape.ask:.0f} s after these)",
            "HTTP: a probe is asked for at once and then again after 1 ms, or 5 % of the time waited so far; "
            f"questions a second: {asked}. They cost the worker, so they have a time of their own",
            f"late: events that left more than {1000 * LATE_SECONDS:.0f} ms after they were due; the latest "
            f"was {1000 * latest:,.0f} ms late",
            "worker: share of a core that it used while the latency to the consumer was measured; machine: "
            f"cores that were busy then, with broker, sender ({senders} of a core) and reader ({readers}) "
            "beside the worker",
            f"sender: librdkafka, acks=all, no retries, linger {shape.linger} ms; reader: librdkafka",
            f"settings: Millstream's defaults, with the agents {agents} (MILLSTREAM_AGENTS)",
            workload(seed),
        ],
    )


if __name__ == "__main__":
    main(prog_name="python -m bench.latency")
