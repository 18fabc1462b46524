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

from app import kafka
from app.commands.common import run as run_coroutine
from app.settings import settings
from app.web.server import PortTakenError, require_port

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class StopRequest(Exception):
    """Ctrl-C, or SIGTERM."""


@click.command()
@click.option(
    "--rate", default=100.0, show_default=True, help="Events a second that are fed in; 0 feeds none."
)
def command(rate: float) -> None:
    """Start Kafka, a worker and a source of events; print where to look; stop all with Ctrl-C.

    A second run goes on with the state of the first.

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
        click.echo("Stopped; `millstream run` goes on from here.")
    except (kafka.KafkaUnavailable, PortTakenError) as exc:
        raise click.ClickException(str(exc)) from None


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Once: what follows is the stopping, which is bounded and must not be broken off half-way.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    click.echo("\nStopping…")
    raise StopRequest


def _run(stack: ExitStack, rate: float) -> None:
    conf = settings()
    require_port(conf.web_host, conf.web_port)
    running = kafka.up(conf, echo=click.echo)
    if running.started:
        stack.callback(kafka.down, conf, echo=click.echo)
    logs = conf.state_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)

    from app.main import app  # noqa: PLC0415 (the whole service; not for --help)

    created = run_coroutine(app.ensure_topics())
    click.echo(f"Topics: {len(created)} checked, {sum(created.values())} created.")

    worker_log = logs / "worker.log"
    worker = stack.enter_context(
        _child("worker", [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info"], worker_log)
    )
    url = f"{'https' if conf.tls_cert else 'http'}://{conf.web_host}:{conf.web_port}"
    _await_health(worker, url, conf.tls_cert, worker_log)
    children = {"worker": (worker, worker_log)}
    if rate:
        feed_log = logs / "produce.log"
        feed = stack.enter_context(
            _child("source", [sys.executable, "-m", "app", "produce", "--rate", str(rate)], feed_log)
        )
        children["source"] = (feed, feed_log)
    click.echo(_welcome(url, rate, worker_log))
    while True:
        for name, (child, log) in children.items():
            if child.poll() is not None:
                raise click.ClickException(f"the {name} ended with code {child.returncode}:\n{_tail(log)}")
        time.sleep(0.5)


def _welcome(url: str, rate: float, log: Path) -> str:
    me = "millstream" if shutil.which("millstream") else sys.argv[0]
    fed = f", {rate:g} events/s are fed in" if rate else ""
    return f"""
Millstream runs{fed}. Watch it:
  {url}/                                  the live page
Ask it:
  {url}/docs                              all views, to try
  {url}/tables                            all tables
  {url}/tables/page-totals//products/0001 views of a page, minute by minute
  {url}/tables/sales/GB                   sales of a country
  {url}/health                            is it well, and how far behind
Look at its results:
  {me} tail -f activity.enriched
  {me} dead-letters list
Log of the worker: {log}
Ctrl-C stops everything."""


def _await_health(worker: subprocess.Popen[bytes], url: str, certificate: Path | None, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if worker.poll() is not None:
            raise click.ClickException(f"the worker ended with code {worker.returncode}:\n{_tail(log)}")
        try:
            answer = httpx.get(f"{url}/health", timeout=2, verify=_only(certificate))
            if answer.status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED):
                return  # with tokens, of which we know the hashes only, it serves at least
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise click.ClickException(f"the worker is not ready after {START_SECONDS:.0f} s:\n{_tail(log)}")


def _only(certificate: Path | None) -> ssl.SSLContext | bool:
    """Trust our worker's certificate, whoever has signed it and for whatever name, and no other."""
    if certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=certificate)
    except OSError:
        return True  # the worker ends, and says what is wrong with it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


@contextmanager
def _child(name: str, command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own, so that Ctrl-C reaches only us; end it in order."""
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
