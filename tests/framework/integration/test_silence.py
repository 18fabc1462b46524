"""Windows of a partition that gets no more events close by the wall clock, through kills."""

import json
import time
from pathlib import Path

import pytest

from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(200)]

START = 1_700_000_000
USERS = 40


@pytest.fixture
def silent(kafka: str, tmp_path: Path) -> Service:
    return Service(kafka, tmp_path, "tests.framework.apps.silent")


def steps(first: int, last: int) -> list[tuple[bytes, bytes]]:
    return [
        (f"u{n}".encode(), json.dumps({"user_id": f"u{n}", "timestamp": START + at}).encode())
        for at in range(first, last)
        for n in range(USERS)
    ]


def walks(service: Service) -> dict[tuple[str, float], set[tuple[float, int]]]:
    """Return the results sent for each walk; a repeat has the same result."""
    told: dict[tuple[str, float], set[tuple[float, int]]] = {}
    for record in service.read("silent.walks"):
        walk = json.loads(record.value)
        told.setdefault((walk["user_id"], walk["start"]), set()).add((walk["end"], walk["steps"]))
    return told


def test_silence_ends_sessions_once(silent: Service) -> None:
    with silent as service:
        service.worker().wait_ready()
        service.send("silent.raw", steps(0, 10))
        right = {(f"u{n}", float(START)): {(START + 9.0, 10)} for n in range(USERS)}
        deadline = time.monotonic() + 60
        while walks(service) != right:
            assert time.monotonic() < deadline, walks(service)
            time.sleep(0.5)
        for round_ in range(1, 4):
            first = 1000 * round_
            service.send("silent.raw", steps(first, first + 10))
            time.sleep(2 + 0.5 * round_)  # about when the sessions end
            service.workers[-1].kill()
            service.worker().wait_ready()
            right |= {(f"u{n}", float(START + first)): {(START + first + 9.0, 10)} for n in range(USERS)}
            deadline = time.monotonic() + 60
            while walks(service) != right:
                assert time.monotonic() < deadline, walks(service)
                time.sleep(0.5)
        assert service.read("silent.late") == []
        assert service.read("silent.dead-letters") == []
