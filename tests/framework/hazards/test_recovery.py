"""Hazards of Faust's recovery, on a real Kafka."""

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import faust
import httpx
import pytest
from aiokafka import AIOKafkaProducer
from faust.tables.recovery import Recovery, ServiceStopped

from millstream.kafka.topics import TopicSpec, ensure
from millstream.state.errors import UnrecoverableError
from millstream.state.log import FENCE
from millstream.state.restore import restore
from tests.framework.hazards.plain import both
from tests.framework.service import Service, Worker

pytestmark = pytest.mark.timeout(180)

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


@pytest.mark.kafka
@pytest.mark.parametrize(
    "app",
    both(
        "tests.framework.apps.plain",
        "tests.framework.apps.faulty",
        "recovery waits for the offset before the end, though there is no record",
    ),
)
def test_a_changelog_that_ends_without_a_record_is_restored(kafka: str, tmp_path: Path, app: str) -> None:
    with Service(kafka, tmp_path, app=app) as service:
        group = service.env["MILLSTREAM_APP_ID"]
        if app == "tests.framework.apps.plain":
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


async def plain_step(endless: Any) -> None:
    app = faust.App("plain", broker="kafka://127.0.0.1:1")
    await Recovery(app, app.tables)._wait(endless, timeout=0.1)


async def millstream_restore(endless: Any) -> None:
    await restore("t/0", cast(Any, SimpleNamespace(acquire=lambda: endless)), 0.1)


@pytest.mark.parametrize(
    "wait",
    both(
        plain_step,
        millstream_restore,
        "a step that takes too long is taken for the end of the worker, which then stands still",
        raises=ServiceStopped,
    ),
)
async def test_a_restore_that_takes_too_long_is_said(wait: Any) -> None:
    with pytest.raises(UnrecoverableError, match="was not restored within"):
        await wait(asyncio.sleep(100))
