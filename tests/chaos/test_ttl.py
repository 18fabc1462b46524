"""Deduplication over a restart."""

import json

import pytest

from tests.chaos.activity import Activity
from tests.framework.chaos.trial import Trial
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.long, pytest.mark.timeout(300)]

TTL = 600


@pytest.mark.parametrize("lose", [False, True], ids=["disk-kept", "disk-lost"])
def test_r15_an_id_is_remembered_for_its_time_to_live_over_restarts(service: Service, lose: bool) -> None:
    def send(*events: tuple[str, int]) -> None:
        service.send(
            "activity.raw",
            [
                (b"u", json.dumps(event | {"user_id": "u", "action": "view", "page": "/a"}).encode())
                for event in ({"event_id": name, "timestamp": at} for name, at in events)
            ],
        )
        service.wait_done()

    def ids() -> list[str]:
        return [json.loads(r.value)["event_id"] for r in service.read_once("activity.enriched")]

    def restart() -> None:
        trial.workers[0].kill()
        trial.workers.clear()
        if lose:
            trial.lose("0")
        trial.report.faults["lose" if lose else "kill"] += 1
        trial.add("0").wait_ready()

    with Trial(f"R15 TTL, {'disk lost' if lose else 'disk kept'}", service, Activity(), workers=1) as trial:
        send(("a", 1000), ("b", 1000 + TTL // 2))
        restart()
        send(("a", 1000), ("c", 1000 + TTL - 1), ("a", 1000))  # inside, by a second
        assert ids() == ["a", "b", "c"]
        restart()
        send(("d", 1000 + TTL), ("a", 1000), ("b", 1000))  # outside, but b
        restart()
        send(("a", 1000), ("b", 1000))
        assert ids() == ["a", "b", "c", "d", "a"]
        assert trial.judge().exact
