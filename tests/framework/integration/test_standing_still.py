"""Workers that stall end by themselves and print their stacks; on SIGTERM they end in time."""

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.framework.integration.test_faulty_agents import check, order
from tests.framework.service import Service, Worker

pytestmark = pytest.mark.kafka


@pytest.fixture
def faulty(kafka: str, tmp_path: Path) -> Iterator[Service]:
    with Service(kafka, tmp_path, app="tests.framework.apps.faulty") as service:
        service.env["MILLSTREAM_STALL_TIMEOUT"] = "PT5S"
        yield service


def ends(worker: Worker, *words: str) -> int:
    code = worker.process.wait(60)
    log = worker.log.read_text()
    assert all(word in log for word in words), log[-5000:]
    return code


def heal(service: Service) -> None:
    """Start again, with an agent that is well, and see that nothing was lost."""
    service.workers.clear()
    service.worker("1", FAULTY_WELL="1").wait_ready()
    check(service, 10)


def test_partition_that_stands_still_ends_the_worker(faulty: Service) -> None:
    worker = faulty.worker().wait_ready()
    faulty.send("faulty.raw", [order(n, "hang" if n == 5 else "") for n in range(10)])
    assert ends(worker, "has stood still for", "of 10", "tests/framework/apps/faulty.py") not in (0, -9)
    heal(faulty)


def test_blocked_event_loop_ends_the_worker(faulty: Service) -> None:
    worker = faulty.worker().wait_ready()
    faulty.send("faulty.raw", [order(n, "block" if n == 5 else "") for n in range(10)])
    assert ends(worker, "the event loop has been blocked for", "tests/framework/apps/faulty.py") == 4
    heal(faulty)


def test_agent_that_fails_outside_of_a_commit_gets_its_batch_again(faulty: Service, tmp_path: Path) -> None:
    crash = tmp_path / "crash"
    crash.touch()
    worker = faulty.worker(FAULTY_CRASH=str(crash)).wait_ready()
    faulty.send("faulty.raw", [order(n) for n in range(10)])
    check(faulty, 10)
    assert not crash.exists()
    assert "crashed as told" in worker.log.read_text()
    assert worker.process.poll() is None


def test_sigterm_with_a_hanging_agent_ends_in_time(faulty: Service) -> None:
    worker = faulty.worker(MILLSTREAM_STALL_TIMEOUT="PT1M").wait_ready()
    faulty.send("faulty.raw", [order(n, "hang" if n == 5 else "") for n in range(10)])
    time.sleep(1)
    began = time.monotonic()
    worker.process.send_signal(signal.SIGTERM)
    worker.process.wait(40)
    assert time.monotonic() - began < 30
    heal(faulty)


def test_second_sigterm_ends_the_worker_at_once(faulty: Service) -> None:
    worker = faulty.worker(MILLSTREAM_STALL_TIMEOUT="PT1M").wait_ready()
    faulty.send("faulty.raw", [order(n, "hang" if n == 5 else "") for n in range(10)])
    time.sleep(1)
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert worker.process.poll() is None
    with contextlib.suppress(httpx.TransportError):  # its views may have closed already
        assert worker.get("/health").status_code == 503
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(2) == 128 + signal.SIGTERM
    heal(faulty)
