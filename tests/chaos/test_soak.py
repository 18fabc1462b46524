"""Ten minutes of steady load, with a rebalance a minute: what a worker needs must not grow.

It is flat when, after the warm-up, its largest values in the last third of the time are not above those in
the first third by more than `SLACK`: a share, and a number that stands for noise.
"""

import os
import time
from collections import defaultdict
from pathlib import Path

import httpx
import pytest

from tests.chaos.activity import Activity
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.soak, pytest.mark.timeout(3600)]

MINUTES = int(os.environ.get("SOAK_MINUTES", "10"))
WARM_UP = 0.3
SLACK = {"rss_mb": (0.1, 20), "fds": (0.1, 5), "threads": (0, 2), "tasks": (0.1, 5), "disk_mb": (0.25, 8)}
TTL = "PT30S"  # so that identities expire at the pace at which they come, soon

Sample = dict[str, float]


def sample(worker: Worker, disk: Path) -> Sample:
    process = Path("/proc", str(worker.process.pid))
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    size = 0
    for file in disk.rglob("*"):
        try:
            size += file.stat().st_blocks * 512
        except FileNotFoundError:  # RocksDB compacts meanwhile
            continue
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) / 1024,
        "fds": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "tasks": worker.get("/test/tasks").json()["tasks"],
        "disk_mb": size / 1_048_576,
    }


def growth(samples: list[Sample], name: str) -> tuple[float, float]:
    """Return the largest value of the first and of the last third after the warm-up."""
    warm = [one[name] for one in samples[int(len(samples) * WARM_UP) :]]
    third = max(1, len(warm) // 3)
    return max(warm[:third]), max(warm[-third:])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_soak(kafka: str, tmp_path: Path) -> None:
    samples: dict[str, list[Sample]] = defaultdict(list)
    with (
        Service(kafka, tmp_path, app="tests.apps.soak") as service,
        Trial("soak", service, Activity(rate=1000), MILLSTREAM_DEDUP_TTL=TTL).feed() as trial,
    ):
        judged = [worker.name for worker in trial.workers]
        for minute in range(MINUTES):
            end = time.monotonic() + 60
            if minute % 2 == 0:
                trial.add("guest")
            else:
                trial.stop(next(worker for worker in trial.workers if worker.name == "guest"))
            while time.monotonic() < end:
                time.sleep(5)
                for worker in trial.workers:
                    if worker.name in judged:
                        disk = (
                            tmp_path / "state" / "data" / f"{service.env['MILLSTREAM_APP_ID']}-{worker.name}"
                        )
                        try:
                            samples[worker.name].append(sample(worker, disk))
                        except (FileNotFoundError, httpx.TransportError):
                            trial.revive()
        trial.finish()
        assert trial.report.ended == 0
    grown = []
    for name, (share, noise) in SLACK.items():
        pairs = {worker: growth(found, name) for worker, found in samples.items()}
        shown = " ".join(f"{before:.0f}->{after:.0f}" for before, after in pairs.values())
        print(f"{name}: {shown}")
        grown += [
            f"{name} of worker {worker}: {before:.0f} -> {after:.0f}"
            for worker, (before, after) in pairs.items()
            if after > before * (1 + share) + noise
        ]
    assert not grown
