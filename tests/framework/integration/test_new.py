"""`millstream new` and `add`, as who has only the wheel finds them: the projects test and run."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.framework.service import free_port
from tests.framework.wheel import build

pytestmark = pytest.mark.timeout(600)

CLEAN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


def ran(*command: str | Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=CLEAN | env,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with only the wheel in it."""
    folder = tmp_path_factory.mktemp("user")
    made = folder / "venv"
    wheel = build(folder)
    subprocess.run([sys.executable, "-m", "venv", made], check=True)
    installed = ran(made / "bin" / "pip", "install", "-q", wheel, cwd=folder, **_pip())
    if installed.returncode and "No matching distribution" in installed.stderr:
        pytest.skip(f"the dependencies cannot be installed: pip reaches no index\n{installed.stderr[-500:]}")
    assert installed.returncode == 0, installed.stderr
    return made


def _pip() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "HTTP"))}


@pytest.fixture(scope="module")
def project(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project in a folder with somebody else's modules of the same names."""
    home = tmp_path_factory.mktemp("home")
    for name in ("app", "models", "tables", "agents"):
        (home / f"{name}.py").write_text(f"raise SystemExit('theirs: {name}')\n")
    made = ran(venv / "bin" / "millstream", "new", "orders", cwd=home)
    assert made.returncode == 0, made.stderr
    assert "Next: cd orders && make run" in made.stdout
    return home / "orders"


def make(project: Path, venv: Path, target: str, **env: str) -> subprocess.CompletedProcess[str]:
    return ran("make", target, f"VENV={venv}", cwd=project, **_pip(), **env)


def test_a_new_project_passes_its_tests(project: Path, venv: Path) -> None:
    tested = make(project, venv, "test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    assert len([path for path in project.rglob("*.py") if "venv" not in path.parts]) == 9
    assert list((project / "wheels").glob("millstream-*.whl"))


def test_what_is_added_runs_at_once(project: Path, venv: Path) -> None:
    millstream = venv / "bin" / "millstream"
    for words in (
        ("agent", "payments"),
        ("table", "refunds", "--source", "orders"),
        ("topic", "bills", "--output"),
    ):
        added = ran(millstream, "add", *words, cwd=project)
        assert added.returncode == 0, added.stderr
        assert "Next:" in added.stdout
    before = {path: path.read_bytes() for path in project.rglob("*.py")}
    for words, says in (
        (("agent", "payments"), "already: choose another name"),
        (("agent", "class"), "is a name of Python itself"),
        (("agent", "My-Agent"), "is no name: small letters"),
        (("table", "more"), "say which source topic, with --source"),
        (("table", "more", "--source", "nothing"), "there is no source topic 'nothing'"),
        (("topic", "more"), "say what it is: --source"),
    ):
        refused = ran(millstream, "add", *words, cwd=project)
        assert refused.returncode != 0
        assert says in " ".join(refused.stderr.split()), refused.stderr
    assert {path: path.read_bytes() for path in project.rglob("*.py")} == before
    tested = make(project, venv, "test")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "4 passed" in tested.stdout


def test_a_folder_that_is_there_and_names_that_cannot_be(project: Path, venv: Path) -> None:
    for name, says in (
        ("orders", "is there already, and not an empty folder"),
        ("json", "is a module of Python itself"),
        ("models", "is a folder of every project"),
        ("faust-streaming", "is a package that the project needs"),
        ("Orders!", "is no name for a project"),
    ):
        refused = ran(venv / "bin" / "millstream", "new", name, cwd=project.parent)
        assert refused.returncode != 0
        assert says in " ".join(refused.stderr.split()), refused.stderr


def test_the_version_is_the_wheels(project: Path, venv: Path) -> None:
    (wheel,) = (project / "wheels").glob("*.whl")
    said = ran(venv / "bin" / "millstream", "--version", cwd=project).stdout
    assert said.split()[-1] == wheel.name.split("-")[1]


@pytest.fixture
def running(kafka: str, project: Path, venv: Path, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    env = CLEAN | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MILLSTREAM_TOPIC_PREFIX": f"new-{uuid.uuid4().hex[:6]}-",
        "MILLSTREAM_APP_ID": f"new-{uuid.uuid4().hex[:6]}",
        "MILLSTREAM_STATE_DIR": str(tmp_path),
        "MILLSTREAM_WEB_PORT": str(port),
    }
    log = tmp_path / "run.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["make", "run", f"VENV={venv}"],
            cwd=project,
            env=env,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 90
        while "Millstream is running" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "Stopped; the next" in log.read_text()


@pytest.mark.kafka
def test_a_new_project_runs_with_made_up_orders(running: str) -> None:
    def pieces() -> int:
        answer = httpx.get(f"{running}/tables/sales/lamp", timeout=10)
        return int(answer.json()["total"]["pieces"]) if answer.status_code == 200 else 0

    seen: list[int] = []
    deadline = time.monotonic() + 60
    while len(set(seen) - {0}) < 2:
        assert time.monotonic() < deadline, seen
        seen.append(pieces())
        time.sleep(1)
    assert httpx.get(f"{running}/", timeout=10).status_code == 200
    tables = httpx.get(f"{running}/tables", timeout=10).json()
    assert {"seen", "sales"} <= {one["name"] for one in tables["tables"]}
