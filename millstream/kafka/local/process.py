"""Processes that outlive the command that starts them, known by pid and start time."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from millstream.kafka.local.state import KafkaUnavailable


def spawn(command: Sequence[str | Path], *, cwd: Path, log: Path, env: dict[str, str]) -> int:
    """Start a process detached from this one: own session, no terminal, no parent that must wait for it.

    Args:
        command: program and arguments.
        cwd: its working folder.
        log: file for both outputs; the one of the last start is kept as `<name>.1`.
        env: its whole environment.

    Returns:
        Its pid.
    """
    if log.exists():
        log.replace(log.with_name(log.name + ".1"))
    # The shell ends at once, so the process is nobody's child here: no zombie stays when it dies.
    shell = ["/bin/sh", "-c", 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null & echo $!', "sh", log, *command]
    done = subprocess.run(
        shell,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
    )
    return int(done.stdout)


def born(pid: int) -> str | None:
    """Start time of a process in a form of the system's own; None if it does not live (a zombie does not)."""
    proc = Path("/proc")
    if (proc / "self/stat").exists():
        try:
            # The second field, the name, may hold blanks and brackets.
            fields = (proc / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    stat, _, started = done.stdout.strip().partition(" ")
    return None if not stat or stat.startswith("Z") else started.strip()


def lives(pid: int | None, born_at: str | None) -> bool:
    """Whether this very process still runs."""
    return pid is not None and born_at is not None and born(pid) == born_at


def stop(pid: int, born_at: str, *, grace: float = 20.0) -> bool:
    """End a process with SIGTERM, and with SIGKILL after `grace` seconds; one that is gone is left alone.

    Returns:
        Whether it ended by itself.

    Raises:
        KafkaUnavailable: it belongs to another user.
    """
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        if not lives(pid, born_at):
            return True
        try:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        except PermissionError as exc:
            raise KafkaUnavailable(f"process {pid} belongs to another user: it is theirs to stop.") from exc
        deadline = time.monotonic() + seconds
        while lives(pid, born_at) and time.monotonic() < deadline:
            time.sleep(0.02)
    return False


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log file; empty if there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""
