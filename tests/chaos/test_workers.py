"""Workers that die, lose their disk, and stand still, in the middle of their work."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from typing import Any

import pytest

from models.record import event_time
from tests.service import Service, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

EVENTS = 120_000
RATE = 6_000
WORKERS = 3


class Fault:
    """One fault of one worker: `kill`, `lose` (its disk too), or `freeze` (past the session time-out)."""

    def __init__(self, service: Service, rand: random.Random, kind: str) -> None:
        self.service = service
        self.worker: Worker = rand.choice(service.workers)
        self.kind = kind

    def strike(self) -> None:
        service, worker = self.service, self.worker
        if self.kind == "freeze":
            worker.process.send_signal(signal.SIGSTOP)
            time.sleep(11)  # the session time-out is 8 s
            worker.process.send_signal(signal.SIGCONT)
            return
        worker.kill()
        name = worker.name
        if self.kind == "lose":
            shutil.rmtree(service.folder / "state" / "data" / f"{service.env['MILLRACE_APP_ID']}-{name}")
        service.workers.remove(worker)
        service.worker(name)


def revive(service: Service) -> int:
    """Start workers again that ended by themselves, as an orchestrator does."""
    ended = [worker for worker in service.workers if worker.process.poll() is not None]
    for worker in ended:
        service.workers.remove(worker)
        service.worker(worker.name)
    return len(ended)


@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        (1, ["kill", "freeze", "lose"]),
        *(pytest.param(seed, ["kill", "lose", "freeze"] * 3, marks=pytest.mark.long) for seed in range(2, 5)),
    ],
)
def test_nothing_is_lost_or_counted_twice(service: Service, seed: int, faults: list[str]) -> None:
    rand = random.Random(seed)
    for n in range(WORKERS):
        service.worker(str(n))
    for worker in service.workers:
        worker.wait_ready()
    events = EVENTS * len(faults) // 3
    feed = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "app",
            "produce",
            "--rate",
            str(RATE),
            "--count",
            str(events),
            "--seed",
            str(seed),
            "--invalid",
            "0",
        ],
        env=service.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    struck, ended = Counter[str](), 0
    for kind in faults:
        time.sleep(rand.uniform(2, 4))
        ended += revive(service)
        fault = Fault(service, rand, kind)
        before = service.lag()
        fault.strike()
        assert feed.poll() is None or before > 0, "the fault missed the work: this run says nothing"
        struck[kind] += 1
    assert feed.wait(300) == 0
    deadline = time.monotonic() + 180
    while service.lag():
        assert time.monotonic() < deadline
        ended += revive(service)
        time.sleep(0.2)

    raw = service.read("activity.raw")
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for record in raw:
        event = json.loads(record.value)
        first.setdefault(event["event_id"], (record.partition, event))
    right: Counter[tuple[int, str, int]] = Counter()
    for partition, event in first.values():
        if event["action"] == "view" and event.get("page"):
            right[partition, event["page"], int(event_time(event["timestamp"]) // 60) * 60] += 1

    outputs = service.read("activity.enriched")
    origins = Counter(dict(r.headers)["origin"] for r in outputs)
    ids = Counter(json.loads(r.value)["event_id"] for r in service.read_once("activity.enriched"))
    # The newest is that with the highest origin, not the last: a worker that stood still may send old ones.
    newest: dict[tuple[int, str, int], tuple[int, int]] = {}
    versions: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
    for record in service.read("activity.page-counts"):
        origin = dict(record.headers)["origin"]
        versions[record.key, origin].add(record.value)
        count = json.loads(record.value)
        window = (count["partition"], count["page"], count["window_start"])
        newest[window] = max(newest.get(window, (-1, 0)), (int(origin.rpartition(b"/")[2]), count["views"]))
    counted = {window: views for window, (_, views) in newest.items()}

    lost, doubled = len(first.keys() - ids.keys()), ids.total() - len(ids)
    wrong = sum(counted.get(key) != views for key, views in right.items()) + len(
        counted.keys() - right.keys()
    )
    logs = "".join(file.read_text() for file in service.folder.glob("worker-*.log"))
    print(
        f"seed={seed} faults={dict(struck)} ended={ended} events={len(raw)} distinct={len(first)} "
        f"takeovers={logs.count('ready at offset')} repeats={origins.total() - len(origins)} "
        f"lost={lost} doubled={doubled} wrong_counts={wrong}"
    )
    assert (lost, doubled, wrong) == (0, 0, 0)
    assert set(ids) == set(first)
    # A repeat has the same bytes: with a key and an origin there is one value.
    assert max(map(len, versions.values())) == 1
    # The tables hold the same, over all workers.
    by_page: Counter[str] = Counter()
    for (_, page, _), views in right.items():
        by_page[page] += views
    live = [worker.wait_ready() for worker in service.workers if worker.process.poll() is None]
    held = {
        page: sum(worker.get(f"/tables/page-views/{page}").json()["total"]["views"] for worker in live)
        for page in by_page
    }
    assert held == by_page
