"""`python -m bench`, by `make bench`."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from aiokafka.errors import KafkaError

from app.admin import TopicError
from app.kafka import KafkaUnavailable, down, up
from app.kafka.launch import living
from app.kafka.state import home_of
from app.settings import Settings
from app.sources.batches import SendError
from bench.contest import MILLRACE, PLAIN, Contestant, Result, run
from bench.report import report
from bench.worker import BenchError

RESULTS = Path(__file__).with_name("results")


@click.command()
@click.option(
    "--events",
    type=click.IntRange(1000),
    default=1_000_000,
    show_default=True,
    help="Events that Millrace drains.",
)
@click.option(
    "--plain-events",
    type=click.IntRange(1000),
    default=40_000,
    show_default=True,
    help="Events that plain Faust drains, the first of the same: it is far slower.",
)
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Runs of each; medians are shown."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the events.")
def main(*, events: int, plain_events: int, repeat: int, seed: int) -> None:
    """Measure one worker's drain rate on a prefilled topic, beside the same job as a plain Faust agent.

    It runs on a Kafka of its own, or on that of KAFKA_BOOTSTRAP_SERVERS, in topics of its own. The result is
    printed and written to bench/results. The exit code is 0 if all outputs were right.

    \b
    Examples:
      python -m bench
      python -m bench --repeat 3
      python -m bench --events 100000 --plain-events 10000
    """
    if not Path("/proc/self/stat").exists():
        raise click.ClickException("CPU time and memory are read from /proc: run it on Linux.")
    # What was started is stopped, whichever it is. Shells start background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` does
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    # It tells of what it tries again; what it gives up is raised.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    now, load = datetime.now(UTC), os.getloadavg()[0]
    counts = {MILLRACE: events, PLAIN: plain_events}
    try:
        with (
            tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder,
            kafka_of(folder) as (kafka, kind),
        ):
            results = asyncio.run(_contest(counts, repeat, seed, kafka, folder))
    except TimeoutError:
        raise click.ClickException("Kafka did not answer in time.") from None
    except (BenchError, KafkaError, KafkaUnavailable, SendError, TopicError) as exc:
        raise click.ClickException(str(exc)) from None
    text = report(results, seed=seed, kafka=kind, load=load, date=f"{now:%Y-%m-%d %H:%M} UTC")
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{now:%Y-%m-%d}.md").write_text(f"{text}\n")
    click.echo(f"\n{text}")
    if any(result.problems for runs in results.values() for result in runs):
        sys.exit(1)


async def _contest(
    counts: dict[Contestant, int], repeat: int, seed: int, kafka: str, folder: str
) -> dict[Contestant, list[Result]]:
    results: dict[Contestant, list[Result]] = {contestant: [] for contestant in counts}
    for _ in range(repeat):
        for contestant, count in counts.items():
            click.echo(f"{contestant.name}: {count:,} events… ", nl=False, err=True)
            with tempfile.TemporaryDirectory(dir=folder) as data:
                result = await run(contestant, count, seed, kafka, Path(data))
            click.echo("void" if result.problems else f"{result.rate:,.0f}/s", err=True)
            results[contestant].append(result)
    return results


@contextmanager
def kafka_of(folder: str) -> Iterator[tuple[str, str]]:
    """Have a real Kafka: its address, and which it is."""
    conf = Settings(state_dir=Path(folder))
    running = up(conf, echo=lambda _: None)
    try:
        if running.kind == "mock":
            raise BenchError(
                "librdkafka's mock cluster measures nothing: install Java 17+ and Maven, or Docker, "
                "or set KAFKA_BOOTSTRAP_SERVERS to a real Kafka."
            )
        state = living(home_of(conf))
        yield running.bootstrap, "of KAFKA_BOOTSTRAP_SERVERS" if state is None else state.version
    finally:
        # A second Ctrl-C would leave it running; this is bounded.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if running.started:
            down(conf, echo=lambda _: None)


if __name__ == "__main__":
    main(prog_name="python -m bench")
