"""`millstream new` and `add`, from the built wheel in an environment of its own, beside foreign modules."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from millstream.kafka.reading import records
from tests.framework.browser import CHROMIUM, browser
from tests.framework.integration.conftest import Run
from tests.framework.running import Running, project_env
from tests.framework.service import free_port

PRODUCTS = ("book", "lamp", "chair", "plant")
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


@pytest.mark.parametrize("kind", [[], ["--source", "--output"]])
def test_a_topic_is_of_one_kind(run: Run, project: Path, kind: list[str]) -> None:
    assert "say what it is" in run("millstream", "add", "topic", "hits", *kind, cwd=project, code=2).stderr


def test_a_link_that_leads_nowhere_is_no_place(run: Run, folder: Path) -> None:
    (folder / "linked").symlink_to("nowhere")
    assert "linked is there already" in run("millstream", "new", "linked", cwd=folder, code=1).stderr


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


def run_project(kafka: str, project: Path, venv: Path, folder: Path, *command: str) -> Running:
    """Start a command of the new project, and wait until its workers are at work."""
    running = Running(command, folder / "run.log", project_env(kafka, venv, folder), project)
    running.wait_running()
    return running


def port_of(running: Running) -> int:
    return int(running.env["MILLSTREAM_WEB_PORT"])


def total(running: Running, product: str) -> dict[str, int]:
    answer = httpx.get(f"http://127.0.0.1:{port_of(running)}/tables/sales/{product}", timeout=10)
    return dict(answer.json()["total"]) if answer.status_code == 200 else {"orders": 0, "pieces": 0}


def health_check(home: Path) -> list[str]:
    """Return the command by which the image of a folder's Dockerfile is checked."""
    (command,) = re.findall(r"^HEALTHCHECK [^[]*(\[.*\])$", (home / "Dockerfile").read_text(), re.M)
    return list(json.loads(command))


def healthy(project: Path, port: int) -> bool:
    """Return what the project's health check says of a worker at this port."""
    command, env = [sys.executable, *health_check(project)[1:]], {"MILLSTREAM_WEB_PORT": str(port)}
    return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


def test_its_health_check_is_as_ours(project: Path) -> None:
    assert health_check(project) == health_check(ROOT)


@pytest.mark.kafka
async def test_it_runs_with_made_up_events(kafka: str, project: Path, venv: Path, tmp_path: Path) -> None:
    with run_project(kafka, project, venv, tmp_path, "make", "run", f"VENV={venv}") as running:
        seen: set[int] = set()

        def moves() -> bool:
            seen.add(total(running, "lamp")["pieces"])
            return len(seen - {0}) > 1

        running.wait(moves)
        assert f"127.0.0.1:{port_of(running)}/tables/sales" in running.said  # its own tables
        assert healthy(project, port_of(running))
        assert not healthy(project, free_port())
        if CHROMIUM is None:
            pytest.skip("no Chromium: `make components` installs it")
        async with browser() as page:
            await page.open(f"http://127.0.0.1:{port_of(running)}/")
            await page.wait("document.querySelector('#state.good') !== null", 60)
            await page.wait("document.querySelectorAll('#panels [data-table=sales] .key').length > 0", 120)
            assert page.errors == []


@pytest.mark.kafka
def test_two_workers_of_which_one_is_killed_are_exact(
    kafka: str, project: Path, venv: Path, tmp_path: Path
) -> None:
    command = ("millstream", "run", "--rate", "0", "--workers", "2")
    options = "--topic orders.raw --rate 3000 --count 15000 --duplicates 0.1 --start 2026-01-31"
    with run_project(kafka, project, venv, tmp_path, *command) as running:
        (pid,) = re.findall(r"worker 1, process (\d+)", running.said)
        produce = [venv / "bin" / "millstream", "produce", *options.split()]
        with subprocess.Popen(produce, cwd=project, env=running.env) as feed:

            def begun() -> bool:
                assert not feed.poll()
                return sum(total(running, one)["orders"] for one in PRODUCTS) > 2000

            running.wait(begun)
            os.kill(int(pid), signal.SIGKILL)
            assert feed.wait(120) == 0
        running.wait(lambda: "is at work again" in running.said)
        topic = f"{running.env['MILLSTREAM_TOPIC_PREFIX']}orders.raw"

        async def sent() -> list[Any]:
            return [json.loads(record.value) async for record in records(kafka, topic)]

        orders = {order["order_id"]: order for order in asyncio.run(sent())}
        assert 13_000 < len(orders) < 14_500  # a tenth was sent twice
        expected = {
            product: {
                "orders": sum(order["product"] == product for order in orders.values()),
                "pieces": sum(o["quantity"] for o in orders.values() if o["product"] == product),
            }
            for product in PRODUCTS
        }
        running.wait(lambda: {one: total(running, one) for one in PRODUCTS} == expected)
