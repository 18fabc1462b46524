"""The processes that `millstream run` starts and watches."""

import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

import click

STOP_SECONDS = 15.0


class Process:
    """A program in a session of its own, so that Ctrl-C reaches only `millstream run`.

    Args:
        name: what messages call it.
        command: the program and its arguments.
        log: file of what it prints, written anew.
        env: its environment; None for ours.
    """

    def __init__(
        self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._env = env
        self._child: subprocess.Popen[bytes] | None = None
        log.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it, for the first time or again; its log goes on."""
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=self._env,
            )

    @property
    def pid(self) -> int:
        """Id of the process, once it is started."""
        assert self._child is not None
        return self._child.pid

    @property
    def code(self) -> int | None:
        """What it has ended with, the negative number of a signal that has killed it; None if it runs."""
        return None if self._child is None else self._child.poll()

    def tail(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def ended(self) -> click.ClickException:
        """Return the error that reports its end."""
        return click.ClickException(f"the {self.name} ended with code {self.code}:\n{self.tail()}")

    def terminate(self) -> None:
        """Ask it to end."""
        if self._child is not None:
            self._child.terminate()

    def end_by(self, deadline: float) -> None:
        """Wait until it has ended, and kill it at the deadline, of the monotonic clock."""
        if self._child is None:
            return
        try:
            self._child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            click.echo(
                f"The {self.name} did not end within {STOP_SECONDS:.0f} s and was killed; nothing is lost."
            )
            self._child.kill()
            self._child.wait()


class Processes:
    """The processes of a run; all of them are ended when the block ends."""

    def __init__(self) -> None:
        self._all: list[Process] = []

    def __enter__(self) -> "Processes":
        """Start with none."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all at once: one after the other, workers would hand their partitions to one that ends next."""
        for process in self._all:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._all:
            process.end_by(deadline)

    def __iter__(self) -> Iterator[Process]:
        return iter(self._all)

    def start(
        self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None = None
    ) -> Process:
        """Start a program; see `Process`."""
        process = Process(name, command, log, env)
        self._all.append(process)  # first: Ctrl-C may come at any time
        process.start()
        return process
