"""The Kafka and the workers that tests run on."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.kafka.local import KafkaUnavailable, down, up
from millstream.settings import Settings
from tests.framework.chaos import report
from tests.framework.service import Service

USED = pytest.StashKey[str]()
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: runs for ten minutes; `make soak`")


def pytest_report_header() -> str:
    """Say which Kafka the tests will use."""
    outside = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    return f"kafka: {f'outside, {outside}' if outside else 'a local one, started when a test first needs it'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the chaos tests have found, and which Kafka the tests have used."""
    if report.LINES:
        terminalreporter.section("chaos")
        for line in report.LINES:
            terminalreporter.write_line(line)
    terminalreporter.write_line(f"kafka: {config.stash.get(USED, 'none was needed, or none could be had')}")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a real Kafka, shared by all tests: each has topics of its own."""
    folder = Path(tempfile.mkdtemp(prefix="millstream-test-"))
    conf = Settings(state_dir=folder)
    try:
        running = up(conf, echo=lambda _: None)
    except KafkaUnavailable as exc:
        shutil.rmtree(folder)
        pytest.skip(f"no real Kafka: {exc}")
    if running.kind == "mock":
        down(conf, echo=lambda _: None)
        shutil.rmtree(folder)
        pytest.skip(
            "no real Kafka: only librdkafka's mock cluster could be started (see `millstream kafka up`)"
        )
    request.config.stash[USED] = f"{running.kind} at {running.bootstrap}"
    yield running.bootstrap
    if running.started:
        down(conf, echo=lambda _: None)
    shutil.rmtree(folder)


@pytest.fixture
def service(kafka: str, tmp_path: Path) -> Iterator[Service]:
    """The example with topics, state and web port of its own; its workers end with the test."""
    with Service(kafka, tmp_path, "app", "activity.raw") as started:
        yield started


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real data."""
    if not DATA.is_dir():
        pytest.skip(f"the real data is not at {DATA}")
    return DATA
