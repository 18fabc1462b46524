"""docs/tutorial.md as a reader follows it: its commands and files, from the wheel, on a real Kafka."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.framework.running import Running, project_env

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

TUTORIAL = (Path(__file__).resolve().parents[3] / "docs" / "tutorial.md").read_text()
BLOCKS = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_tutorial_runs(kafka: str, venv: Path, tmp_path: Path) -> None:
    env = project_env(kafka, venv, tmp_path / "state")
    port = int(env["MILLSTREAM_WEB_PORT"])

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

    with Running(["make", "run", f"VENV={venv}"], tmp_path / "run.log", env, home) as running:
        running.wait_running()
        running.wait(lambda: _has_rows(port))
        answer = shell(run_it.replace("curl '", "curl --fail -s '").replace(":6066", f":{port}"), home)
        assert "sent 2 records" in answer
        assert '"trips"' in answer


def _has_rows(port: int) -> bool:
    """Return whether a trip by its station has arrived, through all three topics."""
    answer = httpx.get(f"http://127.0.0.1:{port}/tables/station-hours", params={"limit": 1}, timeout=10)
    return answer.status_code == 200 and bool(answer.json()["keys"])
