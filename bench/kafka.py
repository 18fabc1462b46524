"""The Kafka that a bench runs on."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.kafka import down, up
from app.kafka.launch import living
from app.kafka.state import home_of
from app.settings import Settings
from bench.worker import BenchError


@contextmanager
def kafka_of(folder: str) -> Iterator[tuple[str, str]]:
    """Have a real Kafka: its address, and which it is."""
    conf = Settings(state_dir=Path(folder))
    running = up(conf, echo=lambda _: None)
    try:
        if running.kind == "mock":
            raise BenchError(
                "librdkafka's mock cluster measures nothing: install Java 17+ and Maven, or Docker, "
                "or set KAFKA_BOOTSTRAP_SERVERS to a real Kafka."
            )
        state = living(home_of(conf))
        yield running.bootstrap, "of KAFKA_BOOTSTRAP_SERVERS" if state is None else state.version
    finally:
        # A second Ctrl-C would leave it running; this is bounded.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if running.started:
            down(conf, echo=lambda _: None)
