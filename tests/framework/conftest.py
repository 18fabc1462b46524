"""The services that the framework's own tests run."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.chaos.closed_form import ClosedForm
from tests.framework.service import Service

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves folders beside the sources.
    source = folder / "source"
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-co",
            "--exclude-standard",
            "millstream",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(folder), str(source)], check=True, timeout=120)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture
def service(kafka: str, tmp_path: Path) -> Iterator[Service]:
    """The visits with topics, state and web port of their own; the workers end with the test."""
    with Service(kafka, tmp_path, "tests.framework.apps.visits", "visits.raw") as started:
        yield started


@pytest.fixture
def closed(kafka: str, tmp_path: Path) -> Iterator[Service]:
    """The closed-form service."""
    with Service(kafka, tmp_path, ClosedForm.app, ClosedForm.source) as started:
        yield started
