"""docs/tutorial.md as a reader follows it: its commands and files, from the wheel, on a real Kafka."""

import os
import re
import signal
import subprocess
import time
import uuid
from pathlib import Path

import httpx
import pytest

from tests.framework.service import free_port

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

TUTORIAL = (Path(__file__).resolve().parents[3] / "docs" / "tutorial.md").read_text()
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_tutorial_runs(kafka: str, venv: Path, tmp_path: Path) -> None:
    port, name = free_port(), f"bikes-{uuid.uuid4().hex[:6]}"
    env = {
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MILLSTREAM_TOPIC_PREFIX": f"{name}-",
        "MILLSTREAM_APP_ID": name,
        "MILLSTREAM_STATE_DIR": str(tmp_path / "state"),
        "MILLSTREAM_WEB_PORT": str(port),
    }

    def shell(text: str, cwd: Path) -> str:
        done = subprocess.run(
            ["bash", "-ec", text], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    begin, run_it = [text for language, text in BLOCKS.findall(TUTORIAL) if language == ""]
    shell(begin, tmp_path)
    home = tmp_path / "bikes"
    for language, text in BLOCKS.findall(TUTORIAL):
        if language == "python":
            (home / text.partition("\n")[0].removeprefix("# ")).write_text(text)
    assert "1 passed" in shell(f"make test VENV={venv}", home)
    (home / "stations.csv").write_text("station,district\nstation 1,centre\nstation 2,harbour\n")

    log = tmp_path / "run.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["make", "run", f"VENV={venv}"], cwd=home, env=env, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + 180
    try:
        while "Millstream is running" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        while not _has_rows(port):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        answer = shell(run_it.replace("curl '", "curl --fail -s '").replace(":6066", f":{port}"), home)
        assert "sent 2 records" in answer
        assert '"trips"' in answer
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _has_rows(port: int) -> bool:
    """Return whether a trip by its station has arrived, through all three topics."""
    answer = httpx.get(f"http://127.0.0.1:{port}/tables/station-hours", params={"limit": 1}, timeout=10)
    return answer.status_code == 200 and bool(answer.json()["keys"])
