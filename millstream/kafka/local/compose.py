"""Kafka in a container: the `kafka` service of the docker-compose.yml in the service's folder."""

import os
import shutil
import subprocess
from pathlib import Path

from millstream.kafka.local.jars import VERSION
from millstream.kafka.local.net import HOST, choose_port
from millstream.kafka.local.state import Echo, KafkaUnavailable, State

# As commands find the service, in the current folder.
COMPOSE_FILE = Path("docker-compose.yml")
ANSWER_SECONDS = 20


def why_not() -> str | None:
    """See `Backend`."""
    if not COMPOSE_FILE.exists():
        return f"there is no {COMPOSE_FILE} in this folder (`millstream new` writes one)"
    if shutil.which("docker") is None:
        return "no `docker` found (install Docker)"
    if not _works("compose", "version"):
        return "Docker has no Compose plugin (install docker-compose-plugin)"
    if not _works("info"):
        return "the Docker engine does not answer (start it, and check that you may use it: `docker info`)"
    return None


def start(home: Path, port: int | None, former: int | None, echo: Echo) -> State:  # noqa: ARG001 (see `Backend`)
    """See `Backend`."""
    chosen = choose_port(port, former)
    echo(f"Starting Kafka {VERSION} with Docker Compose (the first time it downloads the image) …")
    done = _compose("up", "-d", "kafka", port=chosen)
    if done.returncode != 0:
        last = "\n".join(f"  {line}" for line in done.stdout.strip().splitlines()[-12:])
        raise KafkaUnavailable(f"`docker compose up -d kafka` failed. Its last lines:\n{last}")
    return State(kind="compose", bootstrap=f"{HOST}:{chosen}", version=VERSION)


def lives(state: State) -> bool:
    """See `Backend`."""
    if shutil.which("docker") is None:
        return False
    done = _compose("ps", "-q", "--status", "running", "kafka", port=state.port)
    return done.returncode == 0 and bool(done.stdout.strip())


def stop(state: State, echo: Echo) -> None:  # noqa: ARG001 (see `Backend`)
    """See `Backend`.

    Raises:
        KafkaUnavailable: Docker refuses.
    """
    done = _compose("stop", "kafka", port=state.port)
    if done.returncode != 0:
        raise KafkaUnavailable(f"`docker compose stop kafka` failed:\n{done.stdout.strip()}")


def wipe(state: State) -> None:
    """See `Backend`: containers and volumes of the project, so also the workers' state.

    Raises:
        KafkaUnavailable: Docker refuses, or is not there.
    """
    if (reason := why_not()) is not None:
        raise KafkaUnavailable(f"the data is in a volume of Docker, which cannot be reached: {reason}")
    done = _compose("down", "--volumes", port=state.port)
    if done.returncode != 0:
        raise KafkaUnavailable(f"`docker compose down --volumes` failed:\n{done.stdout.strip()}")


def last_words(home: Path) -> str:  # noqa: ARG001 (see `Backend`)
    """See `Backend`."""
    return _compose("logs", "--no-color", "--tail", "15", "kafka").stdout.strip()


def _compose(*arguments: str, port: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run `docker compose` on our file; both outputs are in `stdout`."""
    env = os.environ if port is None else {**os.environ, "MILLSTREAM_KAFKA_PORT": str(port)}
    return subprocess.run(
        ["docker", "compose", "-f", COMPOSE_FILE, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _works(*arguments: str) -> bool:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, check=False, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
