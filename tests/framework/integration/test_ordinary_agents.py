"""Ordinary per-event Faust agents work beside the batch agents, in the same app."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from millstream.kafka.topics import TopicSpec, ensure
from tests.framework.service import Service

pytestmark = pytest.mark.kafka


def test_an_ordinary_agent_works_beside_a_batch_agent(kafka: str, tmp_path: Path) -> None:
    with Service(kafka, tmp_path, app="tests.framework.apps.ordinary", source="visits.raw") as service:
        names = [service.topic("words"), service.topic("counts")]
        asyncio.run(ensure(kafka, [TopicSpec(name, 4, 1) for name in names]))
        worker = service.worker().wait_ready()
        service.send("words", [(None, json.dumps({"word": w}).encode()) for w in ["a", "b", "a"] * 20])
        good = {"event_id": "e", "user_id": "u", "action": "view", "timestamp": 1, "page": "/a"}
        service.send("visits.raw", [(b"u", json.dumps(good).encode())])
        service.wait_done()
        deadline = time.monotonic() + 30
        while (
            len(found := [(r.key, r.value) for r in service.read("counts")]) < 60
            and time.monotonic() < deadline
        ):
            time.sleep(0.2)
        assert len(found) == 60
        assert max(int(json.loads(value)) for key, value in found if key == b"a") == 40
        assert len(service.read("visits.clean")) == 1
        assert worker.stop() == 0
