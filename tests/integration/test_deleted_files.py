"""A team deletes what it does not need of the example: the service starts each time."""

import shutil
import time
from pathlib import Path

import pytest

from tests.framework.service import Service

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("app", "agents", "models", "tables")
AGENTS = sorted(path.stem for path in (ROOT / "agents").glob("[a-z]*.py"))


def copied(home: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(ROOT / room, home / room, ignore=shutil.ignore_patterns("__pycache__"))
    return home


def assert_serves(kafka: str, folder: Path, home: Path, tables: bool, **settings: str) -> None:
    with Service(kafka, folder, "app", home=home) as service:
        worker = service.worker(**settings).wait_ready()
        deadline = time.monotonic() + 30  # the ends of the partitions are known soon after the restore
        while (ready := worker.get("/ready")).status_code != 200:
            assert time.monotonic() < deadline, ready.text
            time.sleep(0.2)
        answer = worker.get("/tables")
        assert answer.status_code == 200, answer.text
        assert bool(answer.json()["tables"]) is tables
        assert worker.get("/overview").status_code == 200
        assert worker.get("/metrics").status_code == 200
        assert worker.get("/openapi.json").status_code == 200
        assert worker.stop() == 0


@pytest.mark.parametrize("deleted", AGENTS)
def test_one_agent_is_deleted(kafka: str, tmp_path: Path, deleted: str) -> None:
    home = copied(tmp_path / "home")
    (home / "agents" / f"{deleted}.py").unlink()
    (home / "tables" / f"{deleted}.py").unlink()
    others = ",".join(name for name in AGENTS if name != deleted)
    assert_serves(kafka, tmp_path, home, True, MILLSTREAM_AGENTS=others)


@pytest.mark.parametrize("deleted", [("activity",), ("activity", "page_totals"), tuple(AGENTS)])
def test_agents_of_the_default_list_are_deleted(kafka: str, tmp_path: Path, deleted: tuple[str, ...]) -> None:
    home = copied(tmp_path / "home")
    for name in deleted:
        (home / "agents" / f"{name}.py").unlink()
    assert_serves(kafka, tmp_path, home, deleted == ("activity",))


def test_a_setting_that_names_a_deleted_agent_is_refused(kafka: str, tmp_path: Path) -> None:
    home = copied(tmp_path / "home")
    (home / "agents" / "users.py").unlink()
    with Service(kafka, tmp_path, "app", home=home) as service:
        worker = service.worker(MILLSTREAM_AGENTS="activity,users")
        assert worker.process.wait(60) != 0
        said = worker.log.read_text()
    assert "there is no agent 'users'; there are: activity,page_totals,totals" in said
    assert "Traceback" not in said


def test_the_whole_example_is_deleted(kafka: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "app").mkdir(parents=True)
    (home / "app" / "__init__.py").write_text('import millstream\n\napp = millstream.App("empty")\n')
    assert_serves(kafka, tmp_path, home, False)
    with Service(kafka, tmp_path / "commands", "app", home=home) as service:
        assert "no source topics" in service.command("dead-letters", "list", check=False).stderr
        for command in (["produce"], ["load", str(ROOT / "README.md")]):
            assert "`app.source_topic(…)` declares one" in service.command(*command, check=False).stderr
        assert service.command("topics").stdout == ""
