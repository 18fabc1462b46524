"""How much memory a worker needs for many identities: `python -m bench.memory`."""

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from bench.contest import run
from bench.contestants import MILLRACE
from bench.kafka import kafka_of
from bench.report import machine
from bench.workload import ACTIVITY


@click.command()
@click.option("--events", type=click.IntRange(1000), default=10_700_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def main(*, events: int, seed: int) -> None:
    """Have one worker with default settings drain events, 5 % of them repeated, and show its peak RSS.

    The default holds 10,000,000 distinct identities.
    """
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, kafka_of(folder) as (kafka, kind):
        result = asyncio.run(run(MILLRACE, ACTIVITY, events, seed, kafka, Path(folder)))
    click.echo(f"{machine()}; Kafka {kind}")
    click.echo(f"{events:,} events: peak RSS {result.peak_rss / 2**20:,.0f} MiB, {result.rate:,.0f} events/s")
    for problem in result.problems:
        click.echo(problem)
    sys.exit(bool(result.problems))


if __name__ == "__main__":
    main()
