"""`millstream run`: one command starts everything, Ctrl-C stops everything, the next run goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from millstream.kafka.local import status
from millstream.settings import Settings
from tests.framework.service import free_port

pytestmark = pytest.mark.kafka


class Run:
    """One `millstream run` with a state folder of its own, in a process group as in a terminal."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = int(settings.get("MILLSTREAM_WEB_PORT", free_port()))
        env = {k: v for k, v in os.environ.items() if k != "KAFKA_BOOTSTRAP_SERVERS"}
        env |= {"MILLSTREAM_STATE_DIR": str(folder), "MILLSTREAM_WEB_PORT": str(self.port)} | settings
        self.log = folder.parent / f"run-{time.monotonic_ns()}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "millstream", "run", "--rate", "500"],
                env=env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def get(self, path: str) -> Any:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).json()

    def applied(self) -> int:
        partitions = self.get("/health")["partitions"]
        return sum(p["offset"] for p in partitions if "activity.raw/" in p["partition"])

    def stop(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(30)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes that know the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if (
                    str(folder).encode()
                    in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                ):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


@pytest.fixture
def folder(tmp_path: Path, kafka: str) -> Path:
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        pytest.skip("an outside Kafka is used: `millstream run` is tested with its own")
    return tmp_path / "state"


def test_run_starts_stops_and_goes_on(folder: Path) -> None:
    first = Run(folder)
    first.wait_for("Ctrl-C stops everything")
    urls = [line.split()[0] for line in first.log.read_text().splitlines() if "http://" in line]
    assert urls[0] == f"http://127.0.0.1:{first.port}/"
    page = httpx.get(urls[0], headers={"Accept": "text/html"})
    assert "<title>Millstream" in page.text
    before = first.applied()
    time.sleep(2)
    middle = first.applied()
    assert middle > before
    assert first.stop() == 0
    assert processes_of(folder) == []
    assert status(Settings(state_dir=folder)) is None

    second = Run(folder)
    second.wait_for("Ctrl-C stops everything")
    assert second.applied() >= middle
    assert second.stop() == 0


def test_a_taken_port_is_said(folder: Path) -> None:
    first = Run(folder)
    first.wait_for("Ctrl-C stops everything")
    second = Run(folder, MILLSTREAM_WEB_PORT=str(first.port), MILLSTREAM_WORKER="other")
    assert second.process.wait(60) == 1
    assert f"port {first.port} is taken" in second.log.read_text()
    assert "MILLSTREAM_WEB_PORT" in second.log.read_text()
    assert first.get("/health")["status"] == "ok"
    assert first.stop() == 0
