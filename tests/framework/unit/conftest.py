"""Fixtures of the framework's unit tests."""

import pytest

from millstream.cli import common, load, produce
from tests.framework.sink import Sink


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Sink:
    """What `load` and `produce` send to instead of Kafka."""
    sink = Sink()
    monkeypatch.setattr(common, "bootstrap", sink.bootstrap)
    monkeypatch.setattr(load, "run", sink.run)
    monkeypatch.setattr(produce, "run", sink.run)
    return sink
