"""What the measuring commands have in common: a Kafka, helpers, errors for people, and the printed result."""

import gc
import logging
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import active_children, get_context
from pathlib import Path

import click
from aiokafka.errors import KafkaError

from bench.contestants import MILLSTREAM_PACKAGES
from bench.cores import stolen_seconds, yardstick
from bench.expected import WORKLOAD
from bench.kafka import kafka_of
from bench.worker import BenchError
from millstream.kafka.local import KafkaUnavailable
from millstream.kafka.topics import TopicError
from millstream.sources.batches import SendError

RESULTS = Path(__file__).with_name("results")

# Long enough that each of them gets something to do.
HELPER_SECONDS = 0.3

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Bench:
    """What a command works with.

    Attributes:
        kafka: addresses, host:port with commas.
        kind: which Kafka it is.
        folder: existing, empty; it is deleted afterwards.
        name: of the files in bench/results, without their endings.
        began: when.
        load: the machine's load average of the minute before.
        yardstick: see `bench.cores.yardstick`.
        stolen: CPU seconds that other machines had been given in place of this one.
    """

    kafka: str
    kind: str
    folder: Path
    name: str
    began: datetime
    load: float
    yardstick: float
    stolen: float

    @property
    def ran_on(self) -> str:
        """The machine, and what else it had to do, in a line."""
        seconds = (datetime.now(UTC) - self.began).total_seconds()
        taken = (stolen_seconds() - self.stolen) / seconds
        return (
            f"{machine()}; load {self.load:.1f} before, yardstick {self.yardstick:.2f} s (a million strings "
            f"in a dictionary), {taken:.2f} cores stolen by its host meanwhile"
        )

    def publish(self, title: str, body: Sequence[str], conditions: Sequence[str]) -> None:
        """Print the result as Markdown, and write it to bench/results.

        Args:
            title: what was measured.
            body: lines of Markdown.
            conditions: what one must know to judge it, a sentence each; machine and versions are added.
        """
        lines = [
            f"# {title}, {self.began:%Y-%m-%d %H:%M} UTC",
            "",
            *body,
            "",
            f"- machine: {self.ran_on}",
            f"- versions: Python {platform.python_version()}, Kafka {self.kind}, {MILLSTREAM_PACKAGES()}",
            *(f"- {line}" for line in conditions),
        ]
        self.write("\n".join(lines))

    def write(self, text: str) -> None:
        """Print a text, and write it to bench/results."""
        self.path(".md").write_text(f"{text}\n")
        click.echo(f"\n{text}")

    def path(self, ending: str) -> Path:
        """Path of a file of the result."""
        RESULTS.mkdir(exist_ok=True)
        return RESULTS / f"{self.began:%Y-%m-%d}-{self.name}{ending}"


@contextmanager
def bench(name: str) -> Iterator[Bench]:
    """Have a real Kafka and a folder; what goes wrong ends the command with a message.

    Args:
        name: of the result.
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
    logging.getLogger("httpx").setLevel(logging.WARNING)
    load, measure = os.getloadavg()[0], yardstick()
    began, stolen = datetime.now(UTC), stolen_seconds()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="millstream-bench-") as folder,
            kafka_of(folder) as (kafka, kind),
            tempfile.TemporaryDirectory(dir=folder) as data,
        ):
            yield Bench(kafka, kind, Path(data), name, began, load, measure, stolen)
    except TimeoutError:
        raise click.ClickException("Kafka did not answer in time.") from None
    except (BenchError, KafkaError, KafkaUnavailable, SendError, TopicError) as exc:
        raise click.ClickException(str(exc)) from None


@contextmanager
def helpers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Have processes beside this one: senders and readers that must not wait for each other.

    Args:
        count: how many.
    """
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_undisturbed)
    try:
        list(pool.map(time.sleep, [HELPER_SECONDS] * count))  # so that they have started
        yield pool
    finally:
        for process in active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _undisturbed() -> None:
    """Leave Ctrl-C to the process that started us, and do without the garbage collector.

    To look at all that a bench imports takes it up to a tenth of a second, in which nothing is sent or read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()


def machine() -> str:
    """What the bench runs on, in a line."""
    cpu = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    model = next(
        (name.strip() for key, name in cpu.items() if key.strip() == "model name"), platform.machine()
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {model}, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def table(rows: Rows) -> list[str]:
    """Write rows, the first of them the head, as a Markdown table: the first column left, others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {name.ljust(widths[0])} | "
        + " | ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        + " |"
        for name, *cells in rows
    ]
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return [lines[0], f"|{rule}|", *lines[1:]]


def workload(seed: int, rate: str = f"{WORKLOAD['rate']:,}") -> str:
    """Say what the events are.

    Args:
        seed: theirs.
        rate: events a second of event time.
    """
    return (
        f"events: made up, seed {seed}, {rate} a second of event time, {WORKLOAD['duplicates']:.0%} "
        f"repeated, {WORKLOAD['invalid']:.0%} invalid, {WORKLOAD['late']:.0%} late, "
        f"{WORKLOAD['users']:,} users, {WORKLOAD['pages']:,} pages"
    )


def verdict(problems: Sequence[str]) -> list[str]:
    """Say whether the outputs were right; if not, the result is void."""
    return [f"VOID: {line}" for line in problems] or [
        "The outputs are right: each valid event enriched once, each invalid one a dead letter, the views of "
        "each page in each minute."
    ]


def leave(problems: Sequence[str]) -> None:
    """End with an exit code that says whether the outputs were right."""
    if problems:
        sys.exit(1)
