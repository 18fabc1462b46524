"""Hazards of a whole Faust worker, on a real Kafka."""

import asyncio
import json
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from subprocess import TimeoutExpired

import pytest
from aiokafka import AIOKafkaProducer

from millstream.kafka.topics import TopicSpec, ensure
from tests.framework.hazards.plain import both
from tests.framework.service import Service, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

DAY = 86400


@dataclass
class Kind:
    """An app of `tests.framework.apps` with the topics `raw` and `done`."""

    app: str
    raw: str
    done: str


PLAIN = Kind("tests.framework.apps.plain", "plain.raw", "plain.done")
MILLSTREAM = Kind("tests.framework.apps.faulty", "faulty.raw", "faulty.done")


async def make(service: Service, *topics: str, partitions: int = 4) -> None:
    """Create topics as Kafka does by default; `millstream kafka` has another one for times."""
    configs = {"message.timestamp.type": "CreateTime"}
    await ensure(service.kafka, [TopicSpec(service.topic(topic), partitions, 1, configs) for topic in topics])


@dataclass
class Running:
    kind: Kind
    service: Service
    worker: Worker

    def send(self, *orders: tuple[str, str]) -> None:
        """Send event ids and faults, all to one partition."""
        values = [{"event_id": i, "user_id": "u", "fault": f, "timestamp": 60} for i, f in orders]
        self.service.send(self.kind.raw, [(b"u", json.dumps(value).encode()) for value in values])

    def done(self) -> set[str]:
        return {json.loads(record.value)["event_id"] for record in self.service.read(self.kind.done)}

    def wait_for(self, event_id: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while event_id not in self.done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{event_id} is not done")
            time.sleep(0.2)


@pytest.fixture(scope="module")
def running(
    request: pytest.FixtureRequest, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A worker at work, shared by the tests of its kind."""
    with Service(kafka, tmp_path_factory.mktemp("hazards"), app=request.param.app) as service:
        try:
            if request.param is PLAIN:  # plain Faust makes none but its own
                asyncio.run(make(service, PLAIN.raw, PLAIN.done))
            made = Running(request.param, service, service.worker().wait_ready())
            made.send(("first", ""))
            made.wait_for("first")
        except AssertionError as exc:
            raise RuntimeError(str(exc)) from None  # not the failure that is expected
        yield made


def of_both(why: str, raises: type[Exception] = AssertionError) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "running", both(PLAIN, MILLSTREAM, why, raises=raises), indirect=True, scope="module"
    )


@of_both("an exception in an agent acknowledges the event")
def test_an_event_whose_agent_raises_is_not_lost(running: Running) -> None:
    running.send(*[(f"e{n}", "raise" if n == 3 else "") for n in range(10)])
    running.wait_for("e9")
    assert {f"e{n}" for n in range(10)} <= running.done()


@of_both("its pages show tables and routes to anybody")
def test_no_page_of_faust_is_open(running: Running) -> None:
    paths = ("/table/", "/router/", "/stats/", "/graph/")
    assert [running.worker.get(path).status_code for path in paths] == [404] * 4


@of_both("topics keep the producer's time, and Kafka deletes by it")
def test_old_events_are_not_deleted_at_once(running: Running) -> None:
    async def send() -> float:
        producer = AIOKafkaProducer(bootstrap_servers=running.service.kafka)
        await producer.start()
        try:
            old = int(time.time() - 1000 * DAY) * 1000
            value = {"event_id": "old", "user_id": "u", "fault": "", "timestamp": 60}
            topic = running.service.topic(running.kind.raw)
            await producer.send_and_wait(topic, json.dumps(value).encode(), key=b"u", timestamp_ms=old)
        finally:
            await producer.stop()

    asyncio.run(send())
    (record,) = [
        r for r in running.service.read(running.kind.raw) if json.loads(r.value)["event_id"] == "old"
    ]
    assert time.time() - record.timestamp / 1000 < DAY


@of_both("a second signal is ignored, and nothing bounds the shutdown", raises=TimeoutExpired)
def test_a_second_signal_ends_the_worker(running: Running) -> None:
    running.send(("hanging", "hang"))
    time.sleep(2)
    running.worker.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert running.worker.process.poll() is None
    running.worker.process.send_signal(signal.SIGTERM)
    running.worker.process.wait(2)


def ready_or_ended(worker: Worker, seconds: float = 60) -> str:
    """Return how a start ends: `ready`, or what the worker has said about partitions before it ended.

    Raises:
        TimeoutError: it does not end.
        RuntimeError: it ended for another reason.
    """
    deadline = time.monotonic() + seconds
    while worker.process.poll() is None:
        if re.search("Worker ready|ready at offset", worker.log.read_text()):
            return "ready"
        if time.monotonic() > deadline:
            raise TimeoutError(worker.log.read_text()[-3000:])
        time.sleep(0.1)
    text = worker.log.read_text()
    if "partitions" not in text:
        raise RuntimeError(text[-3000:])
    return text


@pytest.mark.parametrize(
    "kind", both(PLAIN, MILLSTREAM, "a topic with another number of partitions is taken as it is")
)
def test_a_topic_that_is_not_as_declared_stops_the_start(service: Service, kind: Kind) -> None:
    service.app = kind.app
    asyncio.run(make(service, kind.raw, kind.done, partitions=3))
    assert "has 3 partitions, 4 are declared" in ready_or_ended(service.worker())


def test_too_few_brokers_stop_the_start(service: Service) -> None:
    worker = service.worker(MILLSTREAM_REPLICATION="3")
    assert worker.process.wait(60) == 1
    assert "cannot be created: InvalidReplicationFactorError" in worker.log.read_text()
