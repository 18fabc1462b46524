"""What is known of the local Kafka between two calls: the state file, its folder and its lock."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from millstream.settings import Settings

Echo = Callable[[str], None]

MIN_FREE_BYTES = 1 << 30
"""Free disk below which no broker is started: Kafka halts when a write fails."""


class KafkaUnavailable(Exception):
    """There is no Kafka to talk to; the message says what happened and what to do."""


@dataclass(frozen=True)
class Running:
    """A Kafka that can be talked to."""

    kind: str
    """`outside`, `java`, `compose` or `mock`."""
    bootstrap: str
    """Comma-separated `host:port`."""
    started: bool
    """Whether this very call started it."""
    pid: int | None
    """Its process, where it is one of ours."""


class State(msgspec.Struct, frozen=True):
    """The local Kafka that was started last; it may have ended since."""

    kind: str
    bootstrap: str
    version: str
    """Of Kafka, or of librdkafka for the mock cluster."""
    pid: int | None = None
    born: str | None = None
    """Start time of the process, so that a later process with the same pid is not taken for it."""

    @property
    def port(self) -> int:
        """The port of `bootstrap`."""
        return int(self.bootstrap.rpartition(":")[2])

    def running(self, *, started: bool = False) -> Running:
        """The same, for callers."""
        return Running(kind=self.kind, bootstrap=self.bootstrap, started=started, pid=self.pid)


class Backend(Protocol):
    """A way to run Kafka. The modules `java`, `compose` and `mock` are the implementations."""

    def why_not(self) -> str | None:
        """Say in half a sentence why it cannot be used on this machine; None if it can."""

    def start(self, home: Path, port: int | None, former: int | None, echo: Echo) -> State:
        """Start it, without waiting until it answers.

        Args:
            home: existing folder for everything that it keeps.
            port: port that it must use; None leaves the choice to it.
            former: port of the last time, taken again if it is free.
            echo: called with messages about slow steps and limits.

        Raises:
            KafkaUnavailable: it cannot be started.
        """

    def lives(self, state: State) -> bool:
        """Whether what `start` started is still there."""

    def stop(self, state: State, echo: Echo) -> None:
        """End it cleanly, else by force. May block for 20 s and more."""

    def wipe(self, state: State) -> None:
        """Delete what it keeps outside of `home`."""

    def last_words(self, home: Path) -> str:
        """The last lines of its log; may be empty."""


def home_of(settings: Settings) -> Path:
    """Absolute folder of the local Kafka; it may not exist yet."""
    return settings.state_dir.expanduser().resolve() / "kafka"


def load(home: Path) -> State | None:
    """Read the state file; one that is missing or broken means that nothing is known."""
    try:
        return msgspec.json.decode((home / "state.json").read_bytes(), type=State)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return None


def save(home: Path, state: State) -> None:
    """Write the state file whole or not at all."""
    new = home / "state.json.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(state)) + b"\n")
    new.replace(home / "state.json")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; waits for the present holder, and ends with the process.

    Raises:
        KafkaUnavailable: the lock's folder cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as exc:
        raise KafkaUnavailable(
            f"cannot write to {path.parent} ({exc.strerror}): set MILLSTREAM_STATE_DIR (data) or "
            "XDG_CACHE_HOME (downloads) to a folder that you may write to."
        ) from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def check_room(folder: Path) -> None:
    """Refuse to start on a disk that is nearly full.

    Raises:
        KafkaUnavailable: less than `MIN_FREE_BYTES` are free.
    """
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise KafkaUnavailable(
            f"only {free >> 20} MiB are free on the disk of {folder}, and Kafka needs {MIN_FREE_BYTES >> 20}:"
            " free some room, or set MILLSTREAM_STATE_DIR to a folder on another disk."
        )
