"""Choose the best way to run Kafka on this machine, start it and wait until it answers."""

import time
from pathlib import Path
from typing import Final

from millstream.kafka.local import compose, java, mock
from millstream.kafka.local.net import answers
from millstream.kafka.local.state import Backend, Echo, KafkaUnavailable, State, load, save

BACKENDS: Final[dict[str, tuple[str, Backend]]] = {
    "java": ("Java with Maven", java),
    "compose": ("Docker Compose", compose),
    "mock": ("the mock cluster", mock),
}
"""Best first, by the kind in the state file."""

READY_SECONDS = 60


def living(home: Path) -> State | None:
    """The local Kafka that runs; the state file stays when it ends, for its port and its kind."""
    state = load(home)
    if state is None or state.kind not in BACKENDS:
        return None
    return state if BACKENDS[state.kind][1].lives(state) else None


def choose(echo: Echo) -> Backend:
    """Choose the best way to run Kafka here, and report why better ones were not possible.

    Raises:
        KafkaUnavailable: there is none.
    """
    reasons: list[str] = []
    for name, backend in BACKENDS.values():
        reason = backend.why_not()
        if reason is None:
            if reasons:
                echo("\n".join([f"Kafka will be {name}, since the better ways are not available:", *reasons]))
            return backend
        reasons.append(f"  - {name}: {reason}")
    remedy = "Do what one of the brackets says, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs already."
    raise KafkaUnavailable("\n".join(["this machine has no way to run Kafka:", *reasons, remedy]))


def start(home: Path, port: int | None, echo: Echo) -> State:
    """Start the best Kafka and wait until it answers; one that does not is stopped again.

    Args:
        home: folder for everything that it keeps; made if missing.
        port: loopback port that it must use, or None.
        echo: called with messages about what happens.

    Raises:
        KafkaUnavailable: it cannot be started, with what to do about it.
    """
    began = time.monotonic()
    backend = choose(echo)
    former = load(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        state = backend.start(home, port, None if former is None else former.port, echo)
        save(home, state)
    except OSError as exc:
        raise KafkaUnavailable(
            f"cannot use {home} ({exc}): free some room there, or set MILLSTREAM_STATE_DIR to another folder."
        ) from exc
    try:
        _wait(backend, state, home)
    except BaseException:  # also Ctrl-C: who did not wait for a broker does not look for one
        if backend.lives(state):
            backend.stop(state, echo)
        raise
    echo(f"Kafka is up at {state.bootstrap} after {time.monotonic() - began:.1f} s ({detail(state)}).")
    return state


def detail(state: State) -> str:
    """What runs, in a few words."""
    product = "librdkafka" if state.kind == "mock" else "Kafka"
    words = f"{BACKENDS[state.kind][0]}, {product} {state.version}"
    return words if state.pid is None else f"{words}, pid {state.pid}"


def _wait(backend: Backend, state: State, home: Path) -> None:
    """Wait until it answers.

    Raises:
        KafkaUnavailable: it ended before, or does not answer in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    while not answers(state.port):
        ended = not backend.lives(state)
        if ended or time.monotonic() > deadline:
            what = "ended while it started" if ended else f"does not answer after {READY_SECONDS} s"
            words = "\n".join(f"  {line}" for line in backend.last_words(home).splitlines())
            raise KafkaUnavailable(
                f"Kafka {what}. The last lines of its log ({home / 'kafka.log'}):\n{words}"
            )
        time.sleep(0.02)
