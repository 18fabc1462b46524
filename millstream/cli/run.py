"""`millstream run`: everything on this machine, until Ctrl-C."""

import shutil
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType

import click
import httpx

from millstream.app import App
from millstream.cli.children import Child
from millstream.cli.common import run as run_coroutine
from millstream.cli.service import app_name, load_app
from millstream.cli.sources import outside_sources
from millstream.engine.transport import topics_read
from millstream.kafka import local as kafka
from millstream.settings import Settings
from millstream.tables.queries import Listed
from millstream.web.server import PortTakenError, require_port

MILLSTREAM = (sys.executable, "-m", "millstream")
START_SECONDS = 60.0


class StopRequest(Exception):
    """Ctrl-C, or SIGTERM."""


@click.command()
@click.option(
    "--rate", default=100.0, show_default=True, help="Events per second to generate; 0 generates none."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Workers of one group, for several cores; their web ports follow each other.",
)
def command(rate: float, workers: int) -> None:
    """Start Kafka, workers and a generator of events; print the URLs; stop everything with Ctrl-C.

    A second run continues with the state of the first. A worker that is killed is started again; the others
    take over its partitions meanwhile. A service that has registered no generator gets events that are made
    up from the types and bounds of its Records.

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
    ports = _ports(conf, count)
    running = kafka.up(conf, echo=click.echo)
    if running.started:
        stack.callback(kafka.down, conf, echo=click.echo)
    logs = conf.state_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    created = run_coroutine(app.ensure_topics())
    click.echo(f"Topics: {len(created)} checked, {sum(created.values())} created.")
    if count > conf.partitions:
        click.echo(
            f"{count} workers share {conf.partitions} partitions: {count - conf.partitions} of them will "
            "only stand by. MILLSTREAM_PARTITIONS says how many there are."
        )

    children: list[Child] = []
    stack.callback(_stop_all, children)
    workers = [_worker(conf, logs, number, port, count) for number, port in enumerate(ports)]
    children += workers
    if rate:  # before the workers are ready: both import the service, which takes seconds
        feeds = _feeds(app, rate, logs)
        children += feeds
        rate = rate if feeds else 0.0
    scheme = "https" if conf.tls_cert else "http"
    urls = [f"{scheme}://{conf.web_host}:{port}" for port in ports]
    for worker, url in zip(workers, urls, strict=True):
        _await_health(worker, url, conf.tls_cert)
    click.echo(_welcome(app, urls, rate, [worker.log for worker in workers]))
    while True:
        for child in children:
            child.check()
        time.sleep(0.5)


def _ports(conf: Settings, count: int) -> list[int]:
    """Return the web ports of workers: the configured one, and the next ones that are free.

    Raises:
        PortTakenError: the configured one is taken, or there are too few.
    """
    require_port(conf.web_host, conf.web_port)
    found = [conf.web_port]
    for port in range(conf.web_port + 1, min(conf.web_port + 1000, 65536)):
        if len(found) == count:
            break
        with suppress(PortTakenError):
            require_port(conf.web_host, port)
            found.append(port)
    if len(found) < count:
        raise PortTakenError(
            f"{count} ports from {conf.web_port} on are not free: choose another MILLSTREAM_WEB_PORT"
        )
    return found


def _worker(conf: Settings, logs: Path, number: int, port: int, count: int) -> Child:
    """Start a worker; the first one continues with the state of a lone one."""
    name = conf.worker if number == 0 else f"{conf.worker}-{number}"
    command = [sys.executable, "-m", "faust", "-A", app_name(), "worker", "-l", "info"]
    env = {"MILLSTREAM_WORKER": name, "MILLSTREAM_WEB_PORT": str(port)}
    if count == 1:
        return Child("worker", command, logs / "worker.log", env, restarts=True)
    if conf.web_advertise:
        raise click.ClickException(
            "MILLSTREAM_WEB_ADVERTISE is one worker's address: leave it out with --workers"
        )
    return Child(f"worker {name}", command, logs / f"worker-{name}.log", env, restarts=True)


def _feeds(app: App, rate: float, logs: Path) -> list[Child]:
    """Start what generates events: the service's generator, else events made up for each outside source."""
    produce = [*MILLSTREAM, "-A", app_name(), "produce"]
    if app.generator is not None:
        return [Child("source", [*produce, "--rate", str(rate)], logs / "produce.log")]
    names = [source.topic for source in outside_sources(app)]
    if not names:
        click.echo("This service has no source topic (`app.source_topic`): no events are generated.")
    return [
        Child(
            f"source of {name}",
            [*produce, "--topic", name, "--rate", str(rate / len(names))],
            logs / f"produce-{name}.log",
        )
        for name in names
    ]


def _stop_all(children: list[Child]) -> None:
    """End the children: all at once, then wait for each."""
    for child in children:
        child.terminate()
    for child in children:
        child.stop()


def _welcome(app: App, urls: list[str], rate: float, logs: list[Path]) -> str:
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
    page, *others = [f"  {urls[0]}{path:{width}}{about}" for path, about in views.items()]
    outputs = [f"  {me} tail -f {topic}" for topic in _outputs(app)[:1]]
    several = [f"  {url}/ and the views of worker {n + 1}" for n, url in enumerate(urls[1:], 1)]
    return "\n".join(
        [
            "",
            f"Millstream is running{fed}. Live page:",
            page,
            *several,
            "Views:",
            *others,
            "Results:",
            *outputs,
            f"  {me} dead-letters list",
            *(f"Log of a worker: {log}" for log in logs),
            "Ctrl-C stops everything.",
        ]
    )


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


def _await_health(worker: Child, url: str, certificate: Path | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        worker.check()
        try:
            answer = httpx.get(f"{url}/health", timeout=2, verify=_only(certificate))
            if answer.status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED):
                return  # with tokens, of which only hashes are known, it serves at least
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise click.ClickException(
        f"the {worker.name} is not ready after {START_SECONDS:.0f} s:\n{worker.tail()}"
    )


def _only(certificate: Path | None) -> ssl.SSLContext | bool:
    """Trust only this worker's certificate, whoever has signed it and for whatever name."""
    if certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError:
        return True  # the worker exits, and logs what is wrong
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
