"""Kafka of last resort: librdkafka's mock cluster, in a process of its own until SIGTERM.

It keeps everything in memory and knows little of topics; `LIMITS` says what was found missing.
`python -m millstream.kafka.local.mock FILE` runs it and writes its address to FILE.
"""

import os
import signal
import sys
import time
from pathlib import Path

from millstream.kafka.local import process
from millstream.kafka.local.state import Echo, KafkaUnavailable, State

LIMITS = """\
This is librdkafka's mock cluster, for a first look only:
  - everything is in memory and gone at `millstream kafka down`, which keeps about 5 MB of each partition
  - topics come into being when they are first used, always with 4 partitions; none can be created,
    configured, listed with its settings, or deleted, and nothing is compacted
  - one worker at a time: a second member of a consumer group is refused
  - timestamps are the producer's; looking up offsets by time finds nothing
Install Java 17+ and Maven, or Docker, for a real Kafka."""

START_SECONDS = 15


def why_not() -> str | None:
    """See `Backend`."""
    try:
        import confluent_kafka  # noqa: F401, PLC0415 (an optional dependency, only tried)
    except ImportError:
        return "confluent-kafka is not installed (`pip install 'millstream[mock]'`)"
    return None


def start(home: Path, port: int | None, former: int | None, echo: Echo) -> State:  # noqa: ARG001 (see `Backend`)
    """See `Backend`; the mock cluster chooses its own port."""
    if port is not None:
        raise KafkaUnavailable("the mock cluster cannot be given a port: leave --port out.")
    address = home / "mock.address"
    address.unlink(missing_ok=True)
    command: list[str | Path] = [sys.executable, "-m", "millstream.kafka.local.mock", address]
    # `-m` finds packages in the working folder, so this also works where `app` is not installed.
    root = Path(__file__).parents[2]
    pid = process.spawn(command, cwd=root, log=home / "kafka.log", env=dict(os.environ))
    born = process.born(pid)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not address.exists():
            if not process.lives(pid, born) or time.monotonic() > deadline:
                raise KafkaUnavailable(f"the mock cluster did not start. Its last lines:\n{last_words(home)}")
            time.sleep(0.02)
    except BaseException:  # also Ctrl-C
        if born is not None:
            process.stop(pid, born)
        raise
    bootstrap, version = address.read_text().split()
    echo(LIMITS)
    return State(kind="mock", bootstrap=bootstrap, version=version, pid=pid, born=born)


def lives(state: State) -> bool:
    """See `Backend`."""
    return process.lives(state.pid, state.born)


def stop(state: State, echo: Echo) -> None:  # noqa: ARG001 (see `Backend`; it holds nothing that a kill could hurt)
    """See `Backend`."""
    assert state.pid is not None
    assert state.born is not None
    process.stop(state.pid, state.born)


def wipe(state: State) -> None:
    """See `Backend`; it keeps nothing."""


def last_words(home: Path) -> str:
    """See `Backend`."""
    return process.tail(home / "kafka.log")


def main(address: Path) -> None:
    """Hold a mock cluster of one broker until SIGTERM.

    Args:
        address: file to write `host:port` and librdkafka's version to, once it answers.
    """
    # Before librdkafka starts its threads, which inherit it: else one of them would take the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    from confluent_kafka import Producer, libversion  # noqa: PLC0415 (an optional dependency)

    # The cluster lives as long as this client.
    client = Producer({"test.mock.num.brokers": 1})
    broker = next(iter(client.list_topics(timeout=10).brokers.values()))
    new = address.with_name(address.name + ".new")
    new.write_text(f"{broker.host}:{broker.port} {libversion()[0]}")
    new.replace(address)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
