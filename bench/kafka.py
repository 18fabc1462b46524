"""The Kafka that a bench runs on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.worker import BenchError
from millstream.kafka.local import down, up
from millstream.kafka.local.launch import living
from millstream.kafka.local.state import State, home_of
from millstream.settings import Settings

# Those of Kafka's own scripts (bin/kafka-server-start.sh, bin/kafka-run-class.sh), as brokers in production
# have them; ours are for a quick start. See ADR 16.
JVM = {
    "KAFKA_HEAP_OPTS": "-Xmx1G -Xms1G",
    "KAFKA_JVM_PERFORMANCE_OPTS": "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 "
    "-XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent -XX:MaxInlineLevel=15 "
    "-Djava.awt.headless=true",
}


@contextmanager
def kafka_of(folder: str) -> Iterator[tuple[str, str]]:
    """Have a real Kafka: its address, and which it is."""
    for name, options in JVM.items():
        os.environ.setdefault(name, options)
    conf = Settings(state_dir=Path(folder))
    running = up(conf, echo=lambda _: None)
    try:
        if running.kind == "mock":
            raise BenchError(
                "librdkafka's mock cluster measures nothing: install Java 17+ and Maven, or Docker, "
                "or set KAFKA_BOOTSTRAP_SERVERS to a real Kafka."
            )
        state = living(home_of(conf))
        yield running.bootstrap, "of KAFKA_BOOTSTRAP_SERVERS" if state is None else _which(state)
    finally:
        # A second Ctrl-C would leave it running; this is bounded.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if running.started:
            down(conf, echo=lambda _: None)


def _which(state: State) -> str:
    if state.kind != "java":
        return state.version
    return f"{state.version} (JVM: {' '.join(os.environ[name] for name in JVM)})"
