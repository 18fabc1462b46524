"""What the peers need, made once and kept in the user's cache: a Java program, and an environment."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.worker import BenchError
from millstream.kafka.local.jars import cache
from millstream.kafka.local.state import locked

PEERS = Path(__file__).with_name("peers")
STREAMS = PEERS / "streams"
REQUIREMENTS = PEERS / "requirements.txt"
BUILD_SECONDS = 900


def java() -> str:
    """Path of Java.

    Raises:
        BenchError: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = (home and shutil.which("java", path=Path(home, "bin"))) or shutil.which("java")
    if not found:
        raise BenchError("no Java found: install a JDK 17 or later, or set JAVA_HOME")
    return found


def streams() -> Path:
    """Folder with the jars of the Kafka Streams program.

    Raises:
        BenchError: Maven cannot build it.
    """
    return _once("streams", sorted(file for file in STREAMS.rglob("*") if file.is_file()), _build)


def environment() -> Path:
    """Python of the peers' environment.

    Raises:
        BenchError: uv cannot make it.
    """
    return _once("python", [REQUIREMENTS], _install) / "bin/python"


def _once(name: str, sources: list[Path], make: Callable[[Path], None]) -> Path:
    """Make a folder, unless the cache has the one of these very sources."""
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in sources)).hexdigest()[:12]
    folder = cache().parent / f"bench-{name}-{digest}"
    done = folder / ".done"
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


def _build(folder: Path) -> None:
    with TemporaryDirectory(prefix="millstream-bench-") as work:
        copy = shutil.copytree(STREAMS, Path(work, "streams"))
        _run(["mvn", "-q", "-B", "-Dstyle.color=never", "-f", copy / "pom.xml", "package"])
        folder.mkdir(parents=True)
        for jar in (copy / "target").glob("*.jar"):
            shutil.move(jar, folder)


def _install(folder: Path) -> None:
    # Bytewax has no wheels for later ones.
    _run([_uv(), "venv", "-q", "--python", ">=3.11,<3.13", folder])
    python = folder / "bin/python"
    _run([_uv(), "pip", "install", "-q", "--python", python, "--require-hashes", "-r", REQUIREMENTS])


def _uv() -> str:
    found = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    if not found:
        raise BenchError("no uv found: `make setup` installs it")
    return found


def _run(command: list[str | Path]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=BUILD_SECONDS
        )
    except FileNotFoundError:
        raise BenchError(f"{command[0]} is not there") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"{command[0]}: no end after {BUILD_SECONDS} s") from None
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise BenchError(f"{command[0]} failed:\n{last}")
