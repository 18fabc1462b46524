"""An environment with the built wheel alone, as a user has it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Modules of somebody else, beside the project and in the environment.
FOREIGN = ("app", "models", "tables", "agents", "topics")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the wheel and what it requires, and foreign modules."""
    made = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(made)], check=True, timeout=120)
    install = [sys.executable, "-m", "uv", "pip", "install", "-q", "-p", str(made / "bin" / "python")]
    subprocess.run([*install, "-c", _pins(made), str(wheel)], check=True, timeout=300)
    (packages,) = made.glob("lib/python*/site-packages")
    for name in FOREIGN:
        (packages / f"{name}.py").write_text(f"raise SystemExit('theirs: {name}')\n")
    return made


def _pins(folder: Path) -> str:
    """Write our locked versions without hashes: the test is not of what was published today."""
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.rstrip("\\ ") for line in locked if "==" in line and not line.startswith((" ", "#"))]
    file = folder / "pins.txt"
    file.write_text("\n".join(pins))
    return str(file)


@pytest.fixture(scope="session")
def run(venv: Path) -> Run:
    """Runs a program of the environment; nothing of ours is in its variables."""
    kept = ("HOME", "LANG", "PIP_", "UV_", "SSL_", "http", "HTTP", "no_proxy", "NO_PROXY")
    env = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    env["PATH"] = f"{venv / 'bin'}:{os.environ['PATH']}"

    def start(*command: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=280
        )
        assert done.returncode == code, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    return start


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An otherwise empty folder with foreign modules."""
    made = tmp_path_factory.mktemp("home")
    for name in FOREIGN:
        (made / f"{name}.py").write_text(f"raise SystemExit('theirs: {name}')\n")
    return made
