"""A worker process, and what it costs."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
STOP_SECONDS = 30


class BenchError(Exception):
    """No result; the text says why."""


class Worker:
    """A worker in a process of its own, in its own session: Ctrl-C is for us to handle.

    Args:
        command: its command line.
        env: its whole environment.
        log: file for what it prints.
    """

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._proc = Path("/proc", str(self.pid))

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            BenchError: it has ended.
        """
        if self._process.poll() is not None:
            raise BenchError(f"the worker ended with {self._process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The last lines that it has printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def cpu_seconds(self) -> float:
        """CPU time of all its threads and children so far, user and system."""
        self.check()
        return sum(map(_cpu_ticks, self._tree())) / os.sysconf("SC_CLK_TCK")

    def thread_seconds(self, name: str) -> float:
        """CPU time so far of its threads whose names begin with `name`."""
        self.check()
        ticks = 0
        for task in self._proc.glob("task/*"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                ticks += _ticks(task) if (task / "comm").read_text().startswith(name) else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_rss(self) -> int:
        """The largest part of memory that it and its children have held, each by itself, in bytes."""
        return self._memory("VmHWM")

    def rss(self) -> int:
        """The memory that it and its children hold now, in bytes."""
        return self._memory("VmRSS")

    def _memory(self, field: str) -> int:
        self.check()
        return sum(_memory(pid, field) for pid in self._tree())

    def stop(self) -> None:
        """End it: with SIGTERM, and with SIGKILL after `STOP_SECONDS`."""
        self._process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:  # also after Ctrl-C while we wait
            self._process.kill()
            self._process.wait()

    def _tree(self) -> list[int]:
        return [self._process.pid, *_descendants(self._proc)]


def _descendants(proc: Path) -> list[int]:
    pids = []
    for children in proc.glob("task/*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            for pid in map(int, children.read_text().split()):
                pids += [pid, *_descendants(Path("/proc", str(pid)))]
    return pids


def _cpu_ticks(pid: int) -> int:
    return _ticks(Path("/proc", str(pid)), children=True)


def _ticks(proc: Path, *, children: bool = False) -> int:
    try:
        # The second field, the name, may hold blanks and brackets.
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # utime, stime, and the same of children that have ended
    return sum(map(int, fields[11 : 15 if children else 13]))


def _memory(pid: int, field: str) -> int:
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # A process that has ended, but was not waited for, has no memory.
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
