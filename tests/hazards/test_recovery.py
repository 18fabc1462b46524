"""Hazards of Faust's recovery, on a real Kafka."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from app.admin import TopicSpec, ensure
from tables.log import FENCE
from tests.hazards.plain import both
from tests.service import Service, Worker

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

# A restore of a hundred records takes a second.
HANGS_SECONDS = 20


async def end_with_control_record(service: Service, topic: str, records: int) -> None:
    """Append records to all partitions of a changelog, with a transaction's mark behind them."""
    await ensure(service.kafka, [TopicSpec(topic, 4, 1)])
    producer = AIOKafkaProducer(bootstrap_servers=service.kafka, transactional_id=topic)
    await producer.start()
    try:
        async with producer.transaction():
            for partition in range(4):
                for _ in range(records):
                    await producer.send(topic, b"", key=FENCE, partition=partition)
    finally:
        await producer.stop()


def wait_for_restore(worker: Worker) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while True:
        if worker.process.poll() is not None:
            raise RuntimeError(worker.log.read_text()[-3000:])
        try:
            if worker.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "the restore does not end"
        time.sleep(0.1)


@pytest.mark.parametrize(
    "app",
    both(
        "tests.apps.plain",
        "tests.apps.faulty",
        "recovery waits for the offset before the end, though there is no record",
    ),
)
def test_a_changelog_that_ends_without_a_record_is_restored(kafka: str, tmp_path: Path, app: str) -> None:
    with Service(kafka, tmp_path, app=app) as service:
        group = service.env["MILLRACE_APP_ID"]
        if app == "tests.apps.plain":
            asyncio.run(end_with_control_record(service, f"{group}-counts-changelog", 1))
            wait_for_restore(service.worker())
            return
        first = service.worker("0").wait_ready()
        order = json.dumps({"event_id": "e", "user_id": "u", "fault": "", "timestamp": 60}).encode()
        service.send("faulty.raw", [(b"u", order)] * 100)
        service.wait_done(topic="faulty.raw")
        assert first.stop() == 0
        asyncio.run(end_with_control_record(service, f"{service.topic('faulty.raw')}.{group}.state", 1))
        worker = service.worker("1")
        wait_for_restore(worker)
        assert worker.get("/tables/faulty/u").json()["total"] == {"count": 100}
