"""`millstream run`: everything on this machine, until Ctrl-C."""

import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import click
import httpx

from millstream.app import App
from millstream.cli.common import run as run_coroutine
from millstream.cli.service import app_name, load_app
from millstream.engine.transport import topics_read
from millstream.kafka import local as kafka
from millstream.tables.queries import Listed
from millstream.web.server import PortTakenError, require_port

MILLSTREAM = (sys.executable, "-m", "millstream")
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class StopRequest(Exception):
    """Ctrl-C, or SIGTERM."""


@click.command()
@click.option(
    "--rate", default=100.0, show_default=True, help="Events per second to generate; 0 generates none."
)
def command(rate: float) -> None:
    """Start Kafka, a worker and a generator of events; print the URLs; stop everything with Ctrl-C.

    A second run continues with the state of the first.

    \b
    Examples:
      millstream run
      millstream run --rate 5000
      KAFKA_BOOTSTRAP_SERVERS=kafka:9092 millstream run --rate 0
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with ExitStack() as stack:
            _run(stack, rate)
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


def _run(stack: ExitStack, rate: float) -> None:
    app = load_app()
    conf = app.settings
    require_port(conf.web_host, conf.web_port)
    running = kafka.up(conf, echo=click.echo)
    if running.started:
        stack.callback(kafka.down, conf, echo=click.echo)
    logs = conf.state_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    created = run_coroutine(app.ensure_topics())
    click.echo(f"Topics: {len(created)} checked, {sum(created.values())} created.")

    worker_log = logs / "worker.log"
    worker = stack.enter_context(
        _child(
            "worker", [sys.executable, "-m", "faust", "-A", app_name(), "worker", "-l", "info"], worker_log
        )
    )
    children = {"worker": (worker, worker_log)}
    if rate and app.generator is None:
        click.echo("This service has no generator (`app.add_generator`): no events are generated.")
        rate = 0.0
    if rate:  # before the worker is ready: both import the service, which takes seconds
        feed_log = logs / "produce.log"
        feed = stack.enter_context(
            _child("source", [*MILLSTREAM, "-A", app_name(), "produce", "--rate", str(rate)], feed_log)
        )
        children["source"] = (feed, feed_log)
    url = f"{'https' if conf.tls_cert else 'http'}://{conf.web_host}:{conf.web_port}"
    _await_health(worker, url, conf.tls_cert, worker_log)
    click.echo(_welcome(app, url, rate, worker_log))
    while True:
        for name, (child, log) in children.items():
            if child.poll() is not None:
                raise click.ClickException(f"the {name} ended with code {child.returncode}:\n{_tail(log)}")
        time.sleep(0.5)


def _welcome(app: App, url: str, rate: float, log: Path) -> str:
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
            f"Log of the worker: {log}",
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


def _await_health(worker: subprocess.Popen[bytes], url: str, certificate: Path | None, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            raise click.ClickException(f"the worker ended with code {worker.returncode}:\n{_tail(log)}")
        try:
            answer = httpx.get(f"{url}/health", timeout=2, verify=_only(certificate))
            if answer.status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED):
                return  # with tokens, of which only hashes are known, it serves at least
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise click.ClickException(f"the worker is not ready after {START_SECONDS:.0f} s:\n{_tail(log)}")


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


@contextmanager
def _child(name: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in its own session, so that Ctrl-C reaches only this process; terminate it at the end."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            click.echo(f"The {name} did not end within {STOP_SECONDS:.0f} s and was killed; nothing is lost.")
            child.kill()
            child.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
