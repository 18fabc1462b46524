"""Two agents of one topic, and the same events by another key, on a real Kafka: exact through kills."""

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.framework.service import Service, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

RIDES, BIKES, STATIONS, KILLS = 12_000, 23, 11, 3


def rides(first: int, end: int) -> list[tuple[bytes | None, bytes | None]]:
    return [
        (
            f"b{n % BIKES}".encode(),
            json.dumps(
                {"number": n, "bike": f"b{n % BIKES}", "station": f"s{n % STATIONS}", "at": 1.7e9 + n / 100}
            ).encode(),
        )
        for n in range(first, end)
    ]


def answered(worker: Worker, path: str) -> Any:
    """Return an answer; a worker that was killed just now may not have its partitions back yet."""
    deadline = time.monotonic() + 60
    while (answer := worker.get(path)).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    return answer.json()


def test_totals_are_exact_through_kills(kafka: str, tmp_path: Path) -> None:
    with Service(kafka, tmp_path, "tests.framework.apps.rides", "rides") as service:
        workers = [service.worker(name).wait_ready() for name in ("a", "b")]
        step = RIDES // KILLS
        for kill in range(KILLS):
            service.send("rides", rides(kill * step, (kill + 1) * step))
            worker = workers[kill % 2]
            worker.kill()
            # At the same address: a worker that is back within the session timeout causes no rebalance, which
            # would tell the others of a new one.
            again = service.worker(worker.name, MILLSTREAM_WEB_PORT=str(worker.port))
            again.port = worker.port
            workers[kill % 2] = again.wait_ready()
        service.wait_done(topic="rides")
        service.wait_done(topic="rides.by-station")

        bikes = Counter(f"b{n % BIKES}" for n in range(RIDES))
        stations = Counter(f"s{n % STATIONS}" for n in range(RIDES))
        for worker in workers:
            for table, field, expected in (
                ("per-bike", "value", bikes),
                ("also", "value", bikes),
                ("per-station", "total", stations),
            ):
                answers = {key: answered(worker, f"/tables/{table}/{key}") for key in expected}
                assert {key: one[field]["rides"] for key, one in answers.items()} == expected, table
        receipts = Counter(json.loads(record.value)["number"] for record in service.read_once("receipts"))
        assert receipts == Counter(range(RIDES))
        info = workers[0].get("/tables").json()["tables"]
        assert "rides.by-station-origins" in {one["name"] for one in info}
