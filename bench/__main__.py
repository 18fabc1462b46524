"""`python -m bench`, by `make bench` and `make bench-full`."""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from bench.command import Bench, bench
from bench.contest import Result, run
from bench.contestants import CONTESTANTS, Contestant
from bench.report import Run, report
from bench.worker import BenchError
from bench.workload import WORKLOADS, Workload

KEYS = sorted({contestant.key for all_of in CONTESTANTS.values() for contestant in all_of})


@click.command()
@click.option(
    "--workload",
    type=click.Choice([*WORKLOADS, "all"]),
    default="activity",
    show_default=True,
    help="What is drained.",
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(KEYS),
    help="A contestant that takes part; can be given several times. Default: those of `make bench`.",
)
@click.option("--every", is_flag=True, help="All contestants take part.")
@click.option(
    "--events",
    type=click.IntRange(1000),
    default=300_000,
    show_default=True,
    help="Events that each drains.",
)
@click.option(
    "--slow-events",
    type=click.IntRange(1000),
    default=20_000,
    show_default=True,
    help="Events that the slow ones drain, the first of the same.",
)
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Runs of each; medians are shown."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(
    *, workload: str, only: Sequence[str], every: bool, events: int, slow_events: int, repeat: int, seed: int
) -> None:
    """Measure how fast Millrace and others drain a prefilled topic, with one worker each.

    It runs on a Kafka of its own, or on that of KAFKA_BOOTSTRAP_SERVERS, in topics of its own. The result is
    printed and written to bench/results. The exit code is 0 if all outputs were right.

    \b
    Examples:
      python -m bench
      python -m bench --every --workload all --repeat 3 --events 1000000 --slow-events 40000
      python -m bench --only millrace --only streams --events 100000
    """
    names = list(WORKLOADS) if workload == "all" else [workload]
    texts, void = [], False
    with bench("drain") as work:
        for name in names:
            chosen = _chosen(name, only, every)
            counts = {one: min(slow_events, events) if one.slow else events for one in chosen}
            results = asyncio.run(_contest(WORKLOADS[name], counts, repeat, seed, work))
            date = f"{work.began:%Y-%m-%d %H:%M} UTC"
            texts.append(report(results, Run(WORKLOADS[name], seed, work.kind, work.load, date)))
            void |= any(result.problems for runs in results.values() for result in runs)
        work.write("\n\n".join(texts))
    sys.exit(void)


def _chosen(workload: str, only: Sequence[str], every: bool) -> list[Contestant]:
    there = CONTESTANTS[workload]
    if only:
        return [one for one in there if one.key in only]
    return [one for one in there if every or not one.extra]


async def _contest(
    workload: Workload, counts: dict[Contestant, int], repeat: int, seed: int, work: Bench
) -> dict[Contestant, list[Result]]:
    """Let each drain in turn; every other round goes backwards, so that none is always behind another."""
    results: dict[Contestant, list[Result]] = {contestant: [] for contestant in counts}
    for number in range(repeat):
        for contestant in [*counts][:: -1 if number % 2 else 1]:
            count = counts[contestant]
            click.echo(f"{workload.name}, {contestant.name}: {count:,} events… ", nl=False, err=True)
            with tempfile.TemporaryDirectory(dir=work.folder) as data:
                try:
                    result = await run(contestant, workload, count, seed, work.kafka, Path(data))
                except (BenchError, TimeoutError) as exc:  # the others need not fail with it
                    result = Result(count, 0, 0, 0, 0, 0, [str(exc) or "no end in time"])
            click.echo("void" if result.problems else f"{result.rate:,.0f}/s", err=True)
            results[contestant].append(result)
    return results


if __name__ == "__main__":
    main(prog_name="python -m bench")
