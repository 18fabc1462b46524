"""`millstream run`: everything on this machine, until Ctrl-C."""

import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import click

from millstream.app import App
from millstream.cli.common import finite_rate
from millstream.cli.common import run as run_coroutine
from millstream.cli.local_workers import Workers, watch
from millstream.cli.processes import Processes
from millstream.cli.service import app_name, load_app
from millstream.cli.sources import outside_sources
from millstream.engine.transport import topics_read
from millstream.kafka import local as kafka
from millstream.sources.made_up import MadeUpEvents
from millstream.tables.queries import Listed
from millstream.web.server import PortTakenError

MILLSTREAM = (sys.executable, "-m", "millstream")


class StopRequest(Exception):
    """Ctrl-C, or SIGTERM."""


@click.command()
@click.option(
    "--rate",
    type=click.FloatRange(0),
    callback=finite_rate,
    default=100.0,
    show_default=True,
    help="Events per second to generate; 0 generates none.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Worker processes, for as many cores; each has a name, a port and a log of its own.",
)
def command(rate: float, workers: int) -> None:
    """Start Kafka, a worker and a generator of events; print the URLs; stop everything with Ctrl-C.

    A second run continues with the state of the first. A worker that a signal kills is started again; when
    another process ends, everything stops. A service that has registered no generator gets events that are
    made up from the types and bounds of its Records.

    \b
    Examples:
      millstream run
      millstream run --rate 5000 --workers 2
      KAFKA_BOOTSTRAP_SERVERS=kafka:9092 millstream run --rate 0
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with ExitStack() as stack:
            _run(stack, rate, workers)
    except StopRequest:
        click.echo("Stopped; the next `millstream run` continues from here.")
    except (kafka.KafkaUnavailable, PortTakenError) as exc:
        raise click.ClickException(str(exc)) from None


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Only once: the shutdown that follows is bounded and must not be interrupted.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    click.echo("\nStopping…")
    raise StopRequest


def _run(stack: ExitStack, rate: float, count: int) -> None:
    app = load_app()
    conf = app.settings
    workers = Workers(conf, count)
    running = kafka.up(conf, echo=click.echo)
    if running.started:
        stack.callback(kafka.down, conf, echo=click.echo)
    logs = conf.state_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    created = run_coroutine(app.ensure_topics())
    click.echo(f"Topics: {len(created)} checked, {sum(created.values())} created.")

    if count > conf.partitions:
        click.echo(
            f"MILLSTREAM_PARTITIONS={conf.partitions}: {count - conf.partitions} of {count} workers get no "
            "partition, and only stand by."
        )

    processes = stack.enter_context(Processes())
    workers.start(processes, app_name(), logs)
    if rate:  # before the worker is ready: both import the service, which takes seconds
        rate = _feed(app, processes, rate, logs)
    workers.await_all()
    click.echo(_welcome(app, workers, rate))
    watch(processes, workers)


def _feed(app: App, processes: Processes, rate: float, logs: Path) -> float:
    """Start what generates events: the service's generator, else events made up for each outside source.

    Returns:
        Events per second.
    """
    produce = [*MILLSTREAM, "-A", app_name(), "produce"]
    if app.generator is not None:
        processes.start("source", [*produce, "--rate", str(rate)], logs / "produce.log")
        return rate
    sources = outside_sources(app)
    names = [source.topic for source in sources]
    if not names:
        click.echo("This service has no source topic (`app.source_topic`): no events are generated.")
        return 0.0
    for source in sources:
        MadeUpEvents(source)  # values that cannot be made up are told here, not only in a log
    for name in names:
        command = [*produce, "--topic", name, "--rate", str(rate / len(names))]
        processes.start(f"source of {name}", command, logs / f"produce-{name}.log")
    return rate


def _welcome(app: App, workers: Workers, rate: float) -> str:
    me = "millstream" if shutil.which("millstream") else sys.argv[0]
    fed = f" with {rate:g} generated events/s" if rate else ""
    views = {
        "/": "the live page",
        "/docs": "all views, to try",
        "/tables": "all tables",
        **{f"/tables/{name}": kind for name, kind in _tables(app)},
        "/health": "health and lag",
    }
    width = max(map(len, views)) + 1
    url = next(iter(workers)).url
    page, *others = [f"  {url}{path:{width}}{about}" for path, about in views.items()]
    outputs = [f"  {me} tail -f {topic}" for topic in _outputs(app)[:1]]
    return "\n".join(
        [
            "",
            f"Millstream is running{fed}. Live page:",
            page,
            "Views:",
            *others,
            "Results:",
            *outputs,
            f"  {me} dead-letters list",
            *_logs(workers),
            "Ctrl-C stops everything.",
        ]
    )


def _logs(workers: Workers) -> Iterator[str]:
    """Yield where each worker is, and its log."""
    if len(workers) == 1:
        yield from (f"Log of the worker: {one.process.log}" for one in workers)
        return
    yield "Workers, any of which answers for all:"
    for one in workers:
        yield f"  {one.url}  {one.process.name}, process {one.process.pid}, log {one.process.log}"


def _tables(app: App) -> Iterator[tuple[str, str]]:
    """Yield name and kind of the tables whose keys can be listed."""
    for name, (_, table) in app.queries.tables.items():
        if isinstance(table, Listed):
            yield name, table.kind


def _outputs(app: App) -> list[str]:
    """Return the names of the result topics of agents: no dead letters, late events or source topics."""
    aside = {
        topic for source in app.topology.sources.values() for topic in (source.dead_letters, source.late)
    }
    read = topics_read(app)
    return [
        name
        for name, spec in app.topic_specs.items()
        if spec.configs["cleanup.policy"] == "delete" and name not in aside | read
    ]
