"""Real Prometheus reads a real worker, and fires each alert: in seconds for the rules' minutes."""

import json
import re
import shutil
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from millstream.sources.record import Record
from tests.alerts import FIRES, QUIET, RULES
from tests.framework.chaos.feed import Feed
from tests.framework.service import Service, Worker, free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

WITHIN = 200  # seconds in which all have fired
WELL = "all-is-well"
DOWN, NOBODY = "MillstreamWorkerDown", "MillstreamNoWorkers"
VALUES = re.compile(r"(?P<first>[\d.]+)(?P<step>[+-][\d.]+)?x\d+")
BAD_EVERY = 20  # one of so many records is a dead letter


def in_seconds(rules: str) -> str:
    """Return the rules with a second for each minute, also in the day that one of them looks ahead."""
    rules = re.sub(r"\b(\d+)m\b", r"\1s", rules)
    return re.sub(r"\b(\d+)h\b", r"\1m", rules).replace("86400", "1440")


def shown(name: str, seconds: float) -> str:
    """Return what a target of the name of an alert shows, its minutes being seconds."""
    lines = []
    for series, values in (QUIET | FIRES.get(name, ({}, ""))[0]).items():
        parts = VALUES.fullmatch(values)
        if parts and not series.startswith("up{"):  # that is Prometheus' own
            own = re.sub(r'instance="\w+",?', "", re.sub(r'topic="\w+"', f'topic="{name}"', series))
            lines.append(f"{own} {float(parts['first']) + float(parts['step'] or 0) * int(seconds)}\n")
    return "".join(lines)


@contextmanager
def exporter() -> Iterator[str]:
    """Serve the metrics of each alert at a path of its name; yield where."""
    began = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/")
            body = shown(name, time.monotonic() - began).encode()
            with suppress(ConnectionError):  # it has waited long enough
                self.send_response(503 if name == DOWN else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Prometheus:
    """A server of its own, with the project's rules in seconds.

    Args:
        folder: for its files.
        targets: by the name that they get as `instance`: address and path.
    """

    def __init__(self, folder: Path, targets: dict[str, tuple[str, str]]) -> None:
        program = shutil.which("prometheus")
        if program is None:
            pytest.skip("no Prometheus: `make components` installs it")
        folder.mkdir()
        (folder / "rules.yml").write_text(in_seconds(RULES.read_text()))
        static = [
            {"targets": [address], "labels": {"instance": name, "__metrics_path__": path}}
            for name, (address, path) in targets.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "millstream", "static_configs": static}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{free_port()}"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> "Prometheus":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def ask(self, path: str, **params: str) -> Any:
        """Return what the API has; None while the server starts."""
        assert self._process.poll() is None, "Prometheus has ended"
        try:
            answer = httpx.get(f"{self.url}/api/v1/{path}", params=params, timeout=10)
        except httpx.TransportError:
            return None
        return answer.json()["data"] if answer.status_code == 200 else None

    def firing(self) -> Iterator[tuple[str, str]]:
        """Yield the alerts that fire: their names, and of which topic or worker they are."""
        for alert in (self.ask("alerts") or {"alerts": []})["alerts"]:
            if alert["state"] == "firing":
                labels = alert["labels"]
                yield labels["alertname"], labels.get("topic") or labels.get("instance", "")

    def value(self, query: str) -> float:
        found = (self.ask("query", query=query) or {"result": []})["result"]
        return float(found[0]["value"][1]) if found else 0.0


def activity() -> Iterator[Record]:
    """Make activity of now, with invalid records."""
    for n in count():
        user, now = f"u{n % 40}", time.time()
        event = {"event_id": f"e{n}", "user_id": user, "action": "view", "page": "/a", "timestamp": now}
        value = b"{" if n % BAD_EVERY == 0 else json.dumps(event).encode()
        yield Record(user.encode(), value, now)


def names(worker: Worker) -> set[str]:
    """Return the names of a worker's samples."""
    lines = worker.get("/metrics").text.splitlines()
    return {re.split(r"[ {]", line)[0] for line in lines if not line.startswith("#")}


def test_each_alert_fires_once_and_none_when_all_is_well(service: Service, tmp_path: Path) -> None:
    worker = service.worker().wait_ready()
    address = f"127.0.0.1:{worker.port}"
    feed = Feed(service.kafka, service.topic("activity.raw"), activity(), rate=200)
    fired: dict[str, set[str]] = defaultdict(set)
    with exporter() as told:
        targets = {name: (told, f"/{name}") for name in (*FIRES, WELL) if name != NOBODY}
        with (
            Prometheus(tmp_path / "one", targets | {"worker": (address, "/metrics")}) as prometheus,
            Prometheus(tmp_path / "nobody", {DOWN: (told, f"/{DOWN}")}) as alone,
        ):

            def look(wanted: set[tuple[str, str]]) -> None:
                deadline = time.monotonic() + WITHIN
                while missing := {one for one in wanted if one[1] not in fired[one[0]]}:
                    assert time.monotonic() < deadline, f"did not fire: {missing}; fired: {dict(fired)}"
                    for name, of in prometheus.firing():
                        fired[name].add(of)
                    time.sleep(0.5)

            raw = service.topic("activity.raw")
            look({(name, name) for name in FIRES if name != NOBODY} | {("MillstreamDeadLetters", raw)})
            while (NOBODY, "") not in alone.firing():
                time.sleep(0.5)  # the test's own time-out ends this
            feed.stop()
            assert feed.error is None
            service.wait_done()
            sent = [record.value for record in service.read("activity.raw")]
            bad = sent.count(b"{")
            deadline = time.monotonic() + 10
            while prometheus.value(f'sum(millstream_events_total{{topic="{raw}"}})') < len(sent) - bad:
                assert time.monotonic() < deadline, "Prometheus does not get what the worker counts"
                time.sleep(0.5)
            assert prometheus.value(f'sum(millstream_events_total{{topic="{raw}"}})') == len(sent) - bad
            assert prometheus.value(f'sum(millstream_dead_letters_total{{topic="{raw}"}})') == bad
            assert names(worker) <= set(prometheus.ask("label/__name__/values"))
            worker.kill()
            service.workers.clear()
            look({(DOWN, "worker")})
    print("\n", {name: sorted(of) for name, of in fired.items()}, sep="", end="")
    # Each was of its own target, and of nobody else; the real worker's are of what was done to it.
    done = {("MillstreamDeadLetters", raw), (DOWN, "worker")}
    # Its page counts have the time of their minute, which lasts a minute here, too.
    minute = ("MillstreamWatermarkStandsStill", service.topic("activity.page-counts"))
    # A target that does not answer within a second twice is down, and on a busy machine that is right.
    slow = {(NOBODY, ""), *((DOWN, name) for name in targets)}
    others = {(name, one) for name, of in fired.items() for one in of if one != name}
    assert others - {minute} - slow == done
