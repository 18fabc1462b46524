"""`millstream new` and `add`, from the built wheel in an environment of its own, beside foreign modules."""

import os
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path

import httpx
import pytest
import yaml

from tests.framework.integration.conftest import Run
from tests.framework.service import free_port

ROOT = Path(__file__).resolve().parents[3]
FORMAT = (sys.executable, "-m", "ruff")


@pytest.fixture(scope="module")
def project(run: Run, folder: Path) -> Path:
    """A new project."""
    made = run("millstream", "new", "shop-orders", cwd=folder)
    assert "Next: cd shop-orders && make run" in made.stdout
    return folder / "shop-orders"


def test_its_test_is_green(run: Run, project: Path, venv: Path, wheel: Path) -> None:
    assert (project / "wheels" / wheel.name).read_bytes() == wheel.read_bytes()
    # The environment that is there already: what `make test` would make takes a minute.
    tested = run("make", "test", f"VENV={venv}", cwd=project)
    assert "2 passed" in tested.stdout
    assert "%%" not in "".join(file.read_text() for file in project.rglob("*") if _is_text(file))


def test_a_new_agent_has_a_test_that_is_green(run: Run, project: Path, venv: Path) -> None:
    before = {file: file.read_bytes() for file in project.rglob("*.py")}
    added = run("millstream", "add", "agent", "refused_payments", cwd=project)
    assert "agents/refused_payments.py" in added.stdout
    which = run("millstream", "add", "table", "big_orders", cwd=project, code=1).stderr
    assert "say which source topic, with --source; there are: orders.raw, refused-payments.raw" in which
    run("millstream", "add", "table", "big_orders", "--source", "orders.raw", cwd=project)
    run("millstream", "add", "topic", "clicks", "--source", cwd=project)
    run("millstream", "add", "topic", "bills", "--output", cwd=project)
    tested = run("make", "test", f"VENV={venv}", cwd=project)
    assert "4 passed" in tested.stdout
    topics = project / "app" / "topics.py"
    assert {file for file, text in before.items() if file.read_bytes() != text} == {topics}
    checks = ("check", "--isolated", "--select", "A,E,F,I,UP,W", "--line-length", "110")
    run(*FORMAT, *checks, ".", cwd=project)
    run(*FORMAT, "format", "--isolated", "--line-length", "110", "--check", ".", cwd=project)
    run("millstream", "topics", "--help", cwd=project)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["agent", "orders"], "the service has a topic 'orders.raw'"),
        (["agent", "app"], "'app' is what agents/app.py would import"),
        (["agent", "class"], "'class' is a name of Python itself"),
        (["agent", "../x"], "'../x' is no name"),
        (["table", "sales", "--source", "orders.raw"], "the service has a table 'sales' already"),
        (["table", "more", "--source", "nowhere"], "there is no source topic 'nowhere' in app/topics.py"),
        (["topic", "orders_raw", "--output"], "the service has 'orders_raw' in app/topics.py already"),
    ],
)
def test_what_cannot_be_added_is_refused(run: Run, project: Path, arguments: list[str], said: str) -> None:
    before = sorted(project.rglob("*.py"))
    assert said in run("millstream", "add", *arguments, cwd=project, code=1).stderr
    assert sorted(project.rglob("*.py")) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Shop", "'Shop' is no name for a project"),
        ("a/b", "'a/b' is no name for a project"),
        ("a--b", "'a--b' is no name for a project"),
        ("json", "'json' is a module of Python itself"),
        ("millstream", "'millstream' is a package that the project needs"),
        ("faust-streaming", "'faust-streaming' is a package that the project needs"),
        ("models", "'models' is a folder of every project"),
        ("shop-orders", "shop-orders is there already, and not an empty folder"),
    ],
)
def test_what_cannot_be_a_project_is_refused(
    run: Run, project: Path, folder: Path, name: str, said: str
) -> None:
    before = sorted(folder.rglob("*.py"))
    assert said in run("millstream", "new", name, cwd=folder, code=1).stderr
    assert sorted(folder.rglob("*.py")) == before


def test_outside_of_a_service_nothing_is_added(run: Run, folder: Path) -> None:
    assert (
        "there is no app/topics.py here" in run("millstream", "add", "agent", "a", cwd=folder, code=1).stderr
    )


def test_its_compose_file_is_as_ours(project: Path) -> None:
    ours, its = [yaml.safe_load((at / "docker-compose.yml").read_text()) for at in (ROOT, project)]
    ours["name"] = ours["services"]["worker"]["image"] = "shop-orders"
    assert its == ours


def test_the_version_is_the_wheels(run: Run, folder: Path, wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    version = run("millstream", "--version", cwd=folder).stdout.split()[-1]
    assert f"millstream-{version}.dist-info/licenses/LICENSE" in names


def _is_text(file: Path) -> bool:
    return file.is_file() and file.suffix not in (".whl", ".pyc")


@pytest.mark.kafka
def test_it_runs_with_made_up_events(kafka: str, project: Path, venv: Path, tmp_path: Path) -> None:
    port, name = free_port(), f"new-{uuid.uuid4().hex[:6]}"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MILLSTREAM_TOPIC_PREFIX": f"{name}-",
        "MILLSTREAM_APP_ID": name,
        "MILLSTREAM_STATE_DIR": str(tmp_path),
        "MILLSTREAM_WEB_PORT": str(port),
    }
    log = tmp_path / "run.log"
    with log.open("wb") as out:
        command = ["make", "run", f"VENV={venv}"]
        process = subprocess.Popen(
            command, cwd=project, env=env, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + 120

    def pieces() -> int:
        answer = httpx.get(f"http://127.0.0.1:{port}/tables/sales/lamp", timeout=10)
        return int(answer.json()["total"]["pieces"]) if answer.status_code == 200 else 0

    try:
        seen: set[int] = set()
        while len(seen - {0}) < 2:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            if "Millstream is running" in log.read_text():
                seen.add(pieces())
            time.sleep(0.5)
        assert f"127.0.0.1:{port}/tables/sales" in log.read_text()  # its own tables
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert "Stopped; the next" in log.read_text()
