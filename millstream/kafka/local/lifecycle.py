"""Start, find, stop and delete the Kafka that the settings name."""

import shutil
from collections.abc import Callable
from pathlib import Path

from millstream.kafka.local.launch import BACKENDS, detail, living, start
from millstream.kafka.local.net import accepts
from millstream.kafka.local.state import KafkaUnavailable, Running, home_of, load, locked
from millstream.settings import Settings


def bootstrap(settings: Settings) -> str:
    """Address of the Kafka to use.

    Returns:
        Comma-separated `host:port`.

    Raises:
        KafkaUnavailable: none is set and none runs here.
    """
    if settings.kafka_bootstrap_servers:
        return settings.kafka_bootstrap_servers
    state = living(home_of(settings))
    if state is None:
        raise KafkaUnavailable(
            "no Kafka to talk to: run `millstream kafka up`, or set KAFKA_BOOTSTRAP_SERVERS to its address."
        )
    return state.bootstrap


def status(settings: Settings) -> Running | None:
    """The Kafka that `bootstrap` gives, or None; an outside one counts if something listens there."""
    if (outside := _outside(settings)) is not None:
        return outside if accepts(outside.bootstrap) else None
    state = living(home_of(settings))
    return None if state is None else state.running()


def up(settings: Settings, *, port: int | None = None, echo: Callable[[str], None] = print) -> Running:
    """Make sure that a Kafka runs: the outside one, the local one, else start the best that this machine can.

    Args:
        settings: where it is, or where it keeps its data.
        port: loopback port for a new local one; None takes the former one if it is free, else any.
        echo: called with each message about what happens.

    Returns:
        A Kafka that answers.

    Raises:
        KafkaUnavailable: there is none, with what to do about it.
    """
    if (outside := _outside(settings)) is not None:
        if not accepts(outside.bootstrap):
            raise KafkaUnavailable(
                f"nothing listens at KAFKA_BOOTSTRAP_SERVERS={outside.bootstrap}: start that Kafka or correct"
                " the address; or unset the variable for a local Kafka."
            )
        echo(f"Using the outside Kafka at {outside.bootstrap} (KAFKA_BOOTSTRAP_SERVERS); nothing to start.")
        return outside
    home = home_of(settings)
    with locked(_lock(home)):
        if (state := living(home)) is not None:
            echo(f"Kafka already runs at {state.bootstrap} ({detail(state)}).")
            return state.running()
        return start(home, port, echo).running(started=True)


def down(settings: Settings, *, echo: Callable[[str], None] = print) -> bool:
    """Stop the local Kafka and keep its data.

    Returns:
        Whether there was one to stop.

    Raises:
        KafkaUnavailable: it cannot be stopped.
    """
    home = home_of(settings)
    if (outside := _outside(settings)) is not None:
        echo(f"The Kafka at {outside.bootstrap} (KAFKA_BOOTSTRAP_SERVERS) is not ours to stop.")
        if (state := living(home)) is not None:
            echo(f"A local one runs at {state.bootstrap}: unset KAFKA_BOOTSTRAP_SERVERS to stop it.")
        return False
    if not home.exists():
        echo("Kafka is not running.")
        return False
    with locked(_lock(home)):
        state = living(home)
        if state is None:
            echo("Kafka is not running.")
            return False
        BACKENDS[state.kind][1].stop(state, echo)
    kept = "its data was in memory and is gone" if state.kind == "mock" else "its data is kept"
    echo(f"Kafka at {state.bootstrap} is stopped; {kept}.")
    return True


def wipe(settings: Settings) -> None:
    """Delete the data of the local Kafka; never of an outside one.

    Raises:
        KafkaUnavailable: it still runs, or its data cannot be reached.
    """
    home = home_of(settings)
    if not home.exists():
        return
    with locked(_lock(home)):
        if (running := living(home)) is not None:
            raise KafkaUnavailable(
                f"Kafka runs at {running.bootstrap}: stop it first with `millstream kafka down`."
            )
        if (state := load(home)) is not None and state.kind in BACKENDS:
            BACKENDS[state.kind][1].wipe(state)
        try:
            shutil.rmtree(home)
        except OSError as exc:
            raise KafkaUnavailable(f"cannot delete {exc.filename}: {exc.strerror}.") from exc


def data_size(settings: Settings) -> int:
    """Disk space of the local Kafka's data in bytes, 0 if it keeps none here."""
    size = 0
    for path in (home_of(settings) / "data").rglob("*"):
        try:
            # Its index files are sparse: the length would count 10 MB for each.
            size += path.lstat().st_blocks * 512
        except FileNotFoundError:  # the broker deletes segments meanwhile
            continue
    return size


def _outside(settings: Settings) -> Running | None:
    if not settings.kafka_bootstrap_servers:
        return None
    return Running(kind="outside", bootstrap=settings.kafka_bootstrap_servers, started=False, pid=None)


def _lock(home: Path) -> Path:
    """Beside the folder, so that `wipe` can delete that."""
    return home.with_name("kafka.lock")
