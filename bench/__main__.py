"""`python -m bench`, by `make bench` and `make bench-full`."""

import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from bench.command import Bench, bench
from bench.contest import Result, run
from bench.contestants import CONTESTANTS, Contestant
from bench.report import Run, costs, report
from bench.worker import BenchError
from bench.workload import WORKLOADS

KEYS = sorted({contestant.key for all_of in CONTESTANTS.values() for contestant in all_of})


@click.command()
@click.option(
    "--workload",
    "workloads",
    multiple=True,
    type=click.Choice([*WORKLOADS]),
    default=["activity"],
    show_default=True,
    help="What is drained; can be given several times.",
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
    default=600_000,
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
    *,
    workloads: Sequence[str],
    only: Sequence[str],
    every: bool,
    events: int,
    slow_events: int,
    repeat: int,
    seed: int,
) -> None:
    """Measure how fast Millstream and others drain a prefilled topic, with one worker each.

    It runs on a Kafka of its own, or on that of KAFKA_BOOTSTRAP_SERVERS, in topics of its own. The result is
    printed and written to bench/results. The exit code is 0 if all outputs were right.

    \b
    Examples:
      python -m bench
      python -m bench --every --workload activity --workload ads --repeat 3 --events 1000000
      python -m bench --only millstream --only streams
    """
    counts = {
        name: {one: min(slow_events, events) if one.slow else events for one in _chosen(name, only, every)}
        for name in workloads
    }
    with bench(f"drain-{'-'.join(counts)}") as work:
        results = asyncio.run(_contest(counts, repeat, seed, work))
        date = f"{work.began:%Y-%m-%d %H:%M} UTC"
        texts = [
            report(found, Run(WORKLOADS[name], seed, work.kind, work.ran_on, date))
            for name, found in results.items()
        ]
        work.write("\n\n".join([*texts, *costs(results)]))
    sys.exit(any(one.problems for found in results.values() for runs in found.values() for one in runs))


def _chosen(workload: str, only: Sequence[str], every: bool) -> list[Contestant]:
    there = CONTESTANTS[workload]
    if only:
        return [one for one in there if one.key in only]
    return [one for one in there if every or not one.extra]


async def _contest(
    counts: Mapping[str, Mapping[Contestant, int]], repeat: int, seed: int, work: Bench
) -> dict[str, dict[Contestant, list[Result]]]:
    """Let each drain in turn; every other round goes backwards, so that none is always behind another.

    Args:
        counts: how many events for whom, by workload.
        repeat: number of rounds.
        seed: of the events.
        work: where.

    Returns:
        Results of all rounds, by workload.
    """
    turns = [(name, one, count) for name, of in counts.items() for one, count in of.items()]
    results: dict[str, dict[Contestant, list[Result]]] = {
        name: {one: [] for one in of} for name, of in counts.items()
    }
    for number in range(repeat):
        for name, contestant, count in turns[:: -1 if number % 2 else 1]:
            click.echo(f"{name}, {contestant.name}: {count:,} events… ", nl=False, err=True)
            with tempfile.TemporaryDirectory(dir=work.folder) as data:
                try:
                    result = await run(contestant, WORKLOADS[name], count, seed, work.kafka, Path(data))
                except (BenchError, TimeoutError) as exc:  # the others need not fail with it
                    result = Result(count, 0, 0, 0, 0, 0, [str(exc) or "no end in time"])
            click.echo("void" if result.problems else f"{result.rate:,.0f}/s", err=True)
            results[name][contestant].append(result)
    return results


if __name__ == "__main__":
    main(prog_name="python -m bench")
