"""The workers of `millstream run`: several processes of one group on this machine."""

import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from millstream.cli.processes import Process, Processes
from millstream.settings import Settings
from millstream.web.server import PortTakenError, require_port

START_SECONDS = 60.0
LAST_PORT = 65535


@dataclass
class Worker:
    """One of them.

    Attributes:
        url: of its web views.
        process: its process.
        up: whether it has answered since its start.
    """

    url: str
    process: Process
    up: bool = False


class Workers:
    """The workers, each with a name, a port and a log of its own.

    Args:
        conf: the settings of the first; the others have the names and ports that follow.
        count: number of workers.

    Attributes:
        places: their names and ports.

    Raises:
        PortTakenError: the first one's port is taken, or too few of those behind it are free.
        ClickException: they would all have one URL.
    """

    def __init__(self, conf: Settings, count: int) -> None:
        if count > 1 and conf.web_advertise:
            raise click.ClickException(
                f"MILLSTREAM_WEB_ADVERTISE={conf.web_advertise} is the URL of one worker: leave it out with "
                "--workers"
            )
        self._conf = conf
        self.places = list(zip(_names(conf.worker, count), _ports(conf, count), strict=True))
        self._all: list[Worker] = []

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def start(self, processes: Processes, app: str, logs: Path) -> None:
        """Start them.

        Args:
            processes: where they are watched.
            app: module of the service.
            logs: folder of the logs.
        """
        command = [sys.executable, "-m", "faust", "-A", app, "worker", "-l", "info"]
        scheme = "https" if self._conf.tls_cert else "http"
        one = len(self.places) == 1
        for name, port in self.places:
            env = {**os.environ, "MILLSTREAM_WORKER": name, "MILLSTREAM_WEB_PORT": str(port)}
            log = logs / ("worker.log" if one else f"worker-{name}.log")
            process = processes.start("worker" if one else f"worker {name}", command, log, env)
            self._all.append(Worker(f"{scheme}://{self._conf.web_host}:{port}", process))

    def await_all(self) -> None:
        """Wait until each has answered.

        Raises:
            ClickException: one has ended, or does not answer.
        """
        deadline = time.monotonic() + START_SECONDS * len(self._all)
        for worker in self._all:
            while not self._answers(worker):
                if worker.process.code is not None:
                    raise worker.process.ended()
                if time.monotonic() > deadline:
                    tail = worker.process.tail()
                    raise click.ClickException(f"the {worker.process.name} does not get ready:\n{tail}")
                time.sleep(0.1)
            worker.up = True

    def restart_killed(self) -> None:
        """Start those again that a signal has killed; one that never answered is left for `watch`."""
        for worker in self._all:
            process = worker.process
            code = process.code
            if worker.up and code is not None and code < 0:
                seconds = self._conf.session_timeout.total_seconds()
                others = (
                    f"; the others take over after {seconds:g} s without it" if len(self._all) > 1 else ""
                )
                process.start()
                worker.up = False
                click.echo(
                    f"The {process.name} was killed ({signal.Signals(-code).name}) and is started again, as "
                    f"process {process.pid}{others}."
                )
            elif not worker.up and code is None and self._answers(worker):
                worker.up = True
                click.echo(f"The {process.name} is at work again.")

    def _answers(self, worker: Worker) -> bool:
        try:
            answer = httpx.get(f"{worker.url}/health", timeout=2, verify=_only(self._conf.tls_cert))
        except httpx.TransportError:
            return False
        # With tokens, of which only hashes are known, it serves at least.
        return answer.status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED)


def watch(processes: Processes, workers: Workers) -> None:
    """Watch the processes for ever.

    Raises:
        ClickException: one has ended, other than a worker that a signal has killed.
    """
    while True:
        workers.restart_killed()
        for process in processes:
            if process.code is not None and not _killed_worker(process, workers):
                raise process.ended()
        time.sleep(0.5)


def _killed_worker(process: Process, workers: Workers) -> bool:
    """Return whether it is a worker that is to be started again."""
    return any(one.process is process and one.up and (process.code or 0) < 0 for one in workers)


def _names(first: str, count: int) -> list[str]:
    """Return the workers' names: a number is counted up, another name gets one behind it."""
    if first.isdecimal():
        return [first, *(str(int(first) + i) for i in range(1, count))]
    return [first, *(f"{first}-{i}" for i in range(1, count))]


def _ports(conf: Settings, count: int) -> list[int]:
    """Return the workers' ports: the configured one, and the next ones that are free."""
    require_port(conf.web_host, conf.web_port)
    ports = [conf.web_port]
    for port in range(conf.web_port + 1, LAST_PORT + 1):
        if len(ports) == count:
            break
        try:
            require_port(conf.web_host, port)
        except PortTakenError:
            continue
        ports.append(port)
    if len(ports) < count:
        raise PortTakenError(
            f"only {len(ports)} ports from {conf.web_port} on are free for {count} workers: choose a lower "
            "MILLSTREAM_WEB_PORT, or fewer --workers"
        )
    return ports


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
