"""`millstream run --workers 2` on a real Kafka, one of the workers killed under way."""

import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.framework.running import Running
from tests.framework.service import Service, free_port

pytestmark = pytest.mark.kafka

VISITS, USERS = 4_000, 37
# As the command prints it.
WORKER = re.compile(r"^  (\S+)  worker (\S+), process (\d+), log (\S+)$", re.M)


def visits(first: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield visits with these numbers; each tenth is sent twice."""
    for number in range(first, end):
        visit = {"event_id": f"v{number}", "user_id": f"u{number % USERS}", "action": "view"}
        value = json.dumps(visit | {"timestamp": 1.7e9 + number / 100, "page": "/"}).encode()
        for _ in range(2 if number % 10 == 0 else 1):
            yield visit["user_id"].encode(), value


@pytest.fixture
def start(service: Service) -> Iterator[Callable[..., Running]]:
    """Starts `millstream run`; Ctrl-C ends it, and with it all that it has started."""
    runs: list[Running] = []

    def begin(*options: str, **settings: str) -> Running:
        command = [sys.executable, "-m", "millstream", "-A", service.app, "run", "--rate", "0", *options]
        env = service.env | {"MILLSTREAM_WEB_PORT": str(free_port())} | settings
        runs.append(Running(command, service.folder / "run.log", env))
        return runs[-1]

    yield begin
    for run in runs:
        pids = [int(pid) for _, _, pid, _ in WORKER.findall(run.said)]
        run.stop()
        assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_a_killed_worker_is_started_again_and_all_is_exact(
    service: Service, start: Callable[..., Running]
) -> None:
    run = start("--workers", "2")
    run.wait_running()
    found = WORKER.findall(run.said)
    assert [name for _, name, _, _ in found] == ["0", "1"]
    first, second = found
    assert first[0] != second[0]
    assert Path(first[3]).read_text() != Path(second[3]).read_text() != ""
    for table in ("seen", "page-views", "users", "page-totals"):
        assert f"{first[0]}/tables/{table}" in run.said

    service.send("visits.raw", visits(0, VISITS // 2))
    run.wait(lambda: len(service.read("visits.clean")) > VISITS // 10)
    os.kill(int(second[2]), signal.SIGKILL)
    service.send("visits.raw", visits(VISITS // 2, VISITS))
    run.wait(lambda: "worker 1 was killed (SIGKILL) and is started again" in run.said)
    run.wait(lambda: "worker 1 is at work again" in run.said)
    service.wait_done()

    cleaned = Counter(json.loads(one.value)["event_id"] for one in service.read_once("visits.clean"))
    assert cleaned == Counter(f"v{number}" for number in range(VISITS))
    of_user = Counter(f"u{number % USERS}" for number in range(VISITS))
    for url in (first[0], second[0]):
        run.wait(lambda url=url: httpx.get(f"{url}/health").status_code == 200)  # type: ignore[misc]
        counted = {
            user: httpx.get(f"{url}/tables/users/{user}", timeout=30).json()["value"]["visits"]
            for user in of_user
        }
        assert counted == of_user


def test_a_worker_that_ends_stops_everything(service: Service, start: Callable[..., Running]) -> None:
    run = start("--workers", "2", MILLSTREAM_PARTITIONS="1")
    run.wait_running()
    assert "MILLSTREAM_PARTITIONS=1: 1 of 2 workers get no partition" in run.said
    os.kill(int(WORKER.findall(run.said)[1][2]), signal.SIGTERM)
    assert run.process.wait(60) == 1
    assert re.search(r"Error: the worker 1 ended with code \d+:\n.*\n", run.said)
