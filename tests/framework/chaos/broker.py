"""A Kafka of a test's own, that may be stopped, killed and slowed down."""

import os
import signal
from pathlib import Path

import pytest

from millstream.kafka.local import down, java, net, process, state, up
from millstream.kafka.local.state import home_of
from millstream.settings import Settings

# A second listener, for those who come through a proxy.
PROXIED = """\
listeners=PLAINTEXT://{host}:{{port}},PROXIED://{host}:{listener},CONTROLLER://{host}:{{controller}}
advertised.listeners=PLAINTEXT://{host}:{{port}},PROXIED://{host}:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
"""
QUICK_CLEANER = """\
log.cleaner.backoff.ms=500
log.retention.check.interval.ms=1000
"""


class Broker:
    """One broker, on the same port and data at every start.

    Args:
        folder: for its data.
        properties: further settings, in the form of `java.PROPERTIES`.
    """

    def __init__(self, folder: Path, properties: str = "") -> None:
        if (reason := java.why_not()) is not None:
            pytest.skip(f"no Kafka of Java here: {reason}")
        self._settings = Settings(KAFKA_BOOTSTRAP_SERVERS=None, state_dir=folder)
        self._properties = java.PROPERTIES + properties
        self._port = net.choose_port(None, None)
        self.bootstrap = f"{net.HOST}:{self._port}"

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._alive():
            self.resume()
        down(self._settings, echo=lambda _: None)

    def start(self) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(java, "PROPERTIES", self._properties)
            assert up(self._settings, port=self._port, echo=lambda _: None).kind == "java"

    def _process(self) -> tuple[int, str]:
        last = state.load(home_of(self._settings))
        assert last is not None
        assert last.pid is not None
        assert last.born is not None
        return last.pid, last.born

    def _alive(self) -> bool:
        return process.lives(*self._process())

    def _signal(self, number: int) -> None:
        assert self._alive()
        os.kill(self._process()[0], number)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def terminate(self) -> None:
        assert process.stop(*self._process(), grace=30), "Kafka had to be killed"

    def kill(self) -> None:
        process.stop(*self._process(), grace=0)


def through(proxy: int, listener: int) -> str:
    """Return the settings of a broker that is reached at `listener`, and says that it is at `proxy`."""
    text = PROXIED.format(host=net.HOST, proxy=proxy, listener=listener)
    return text.replace("{port}", "{broker}")
