"""A command under test that goes on until Ctrl-C, with what it has printed."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.framework.service import free_port


class Running:
    """A command in a process group as in a terminal; `said` is what it has printed.

    Args:
        command: the program and its arguments.
        log: file of what it prints.
        env: its whole environment.
        cwd: its working directory; None for that of the tests.
    """

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        self.env = env
        self._log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def wait(self, done: Callable[[], object], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def wait_running(self) -> None:
        self.wait(lambda: "Ctrl-C stops everything" in self.said)

    def stop(self) -> int:
        """Press Ctrl-C, if it still runs; return its code."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(60)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        assert kind is not None or "Stopped; the next" in self.said


def project_env(kafka: str, venv: Path, state: Path) -> dict[str, str]:
    """Return the environment of somebody's project: nothing of ours, topics and a port of its own."""
    name = f"new-{uuid.uuid4().hex[:6]}"
    return {
        "PATH": f"{venv / 'bin'}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
        "KAFKA_BOOTSTRAP_SERVERS": kafka,
        "MILLSTREAM_TOPIC_PREFIX": f"{name}-",
        "MILLSTREAM_APP_ID": name,
        "MILLSTREAM_STATE_DIR": str(state),
        "MILLSTREAM_WEB_PORT": str(free_port()),
    }
