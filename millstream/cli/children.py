"""The processes that `millstream run` starts: they end with it, and a worker that is killed comes back."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

STOP_SECONDS = 15.0
# A worker that is killed again within so many seconds does not come back: something kills it on purpose.
KILLED_AGAIN_SECONDS = 5.0


class Child:
    """A program in a session of its own, so that Ctrl-C reaches only this process.

    Args:
        name: what it is called.
        command: the program and its arguments.
        log: the file that it writes to.
        env: variables in addition to those of this process.
        restarts: whether it is started again when a signal has killed it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        *,
        restarts: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = {**os.environ, **(env or {})}
        self._restarts = restarts
        self._start("wb")

    def _start(self, mode: str) -> None:
        self._started = time.monotonic()
        with self.log.open(mode) as out:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )

    def check(self) -> None:
        """Start it again if a signal has killed it.

        Raises:
            ClickException: it has ended otherwise; the text has the end of its log.
        """
        code = self._process.poll()
        if code is None:
            return
        lived = time.monotonic() - self._started
        if not self._restarts or code >= 0 or lived < KILLED_AGAIN_SECONDS:
            raise click.ClickException(f"the {self.name} ended with code {code}:\n{self.tail()}")
        click.echo(f"The {self.name} was killed by {signal.Signals(-code).name} and is started again.")
        self._start("ab")

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def stop(self) -> None:
        """End it, for a bounded time in order."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            seconds = f"{STOP_SECONDS:.0f} s"
            click.echo(f"The {self.name} did not end within {seconds} and was killed; nothing is lost.")
            self._process.kill()
            self._process.wait()
