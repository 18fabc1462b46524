"""Invalid records: a few, and more than the dead-letter limit allows."""

import json

import pytest

from tests.chaos.activity import Activity
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

RUN = 500


def valid(number: int) -> tuple[bytes, bytes]:
    event = {"event_id": f"v{number}", "user_id": "u", "action": "view", "page": "/a", "timestamp": 1000}
    return b"u", json.dumps(event).encode()


def test_r18_poison_stops_at_the_limit_of_dead_letters(service: Service) -> None:
    poison = [(b"u", b"poison %d" % number) for number in range(4 * RUN)]
    few = poison[: RUN // 2]
    with Trial("R18 poison", service, Activity(), workers=1, MILLSTREAM_DEAD_LETTER_RUN=str(RUN)) as trial:
        service.send("activity.raw", [valid(0), *few, valid(1)])
        service.wait_done()
        assert len(service.read_once("activity.dead-letters")) == len(few)
        trial.report.faults["poison"] += 1
        service.send("activity.raw", [*poison, valid(2)])
        for _ in range(2):  # who starts it again does not drain the topic, either
            worker = trial.workers.pop()
            assert worker.process.wait(60) not in (0, -9, None), "it ended as if all was well"
            assert "dead letter" in worker.log.read_text().lower()
            assert len(service.read_once("activity.dead-letters")) <= len(few) + RUN
            trial.add(worker.name)
        trial.workers.pop().process.wait(60)
        trial.settings["MILLSTREAM_DEAD_LETTER_RUN"] = "0"
        trial.settings["MILLSTREAM_DEAD_LETTER_SHARE"] = "1"
        trial.add("0").wait_ready()
        service.wait_done()
        report = trial.judge()
        assert report.exact
        assert report.expected == len(few) + len(poison) + 3
