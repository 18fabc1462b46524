"""Users' sessions on real Kafka, with kills, compared with sessions made straight from the events."""

import json
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from millstream.records import event_time
from tests import truth
from tests.framework.service import Service
from tests.last import is_last, last_events

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

USERS = 40
START = 1_700_000_000
SETTINGS = {"MILLSTREAM_AGENTS": "activity,page_totals,users"}


def event(number: int, user: str, at: float, action: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"event_id": f"e{number}", "user_id": user, "action": action, "timestamp": at}
    if action == "view":
        fields["page"] = "/a"
    elif action == "purchase":
        fields["amount"] = number % 700 / 100
    return fields


def made(count: int, seed: int) -> list[dict[str, Any]]:
    """Make events of users that come and go, up to four minutes out of order, and a last one a day later."""
    rand = random.Random(seed)
    clock = {f"user-{n}": START + rand.uniform(0, 600) for n in range(USERS)}
    events = []
    for number in range(count):
        user = min(clock, key=clock.__getitem__)
        action = rand.choice(["view", "view", "click", "purchase"])
        events.append(event(number, user, clock[user] - rand.uniform(0, 240), action))
        clock[user] += rand.choice([60, 120, 400]) if rand.random() < 0.9 else rand.uniform(1700, 4000)
    return events + last_events(max(clock.values()) + 86400)


def right(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make the sessions of all users but the last ones, straight from their events."""
    return truth.sessions(one for one in events if not is_last(one["user_id"]))


def test_sessions_are_told_once_and_right_through_kills(service: Service) -> None:
    events = made(6000, 3)
    lines = [(one["user_id"].encode(), json.dumps(one).encode()) for one in events]
    service.worker("0", **SETTINGS).wait_ready()
    for i in range(0, 6000, 2000):
        service.send("activity.raw", lines[i : i + 2000])
        time.sleep(0.3)
        service.workers[-1].kill()
        service.worker("0", **SETTINGS).wait_ready()
    service.send("activity.raw", lines[6000:])
    service.wait_done()
    service.wait_done(topic="activity.enriched")

    told = [json.loads(record.value) for record in service.read_once("activity.sessions")]
    told.sort(key=lambda one: (one["user_id"], one["start"]))
    wanted = right(events)
    assert len(wanted) > 300
    assert told == wanted
    assert service.read("activity.late") == []
    user = wanted[0]["user_id"]
    answer = service.workers[-1].get(f"/tables/sessions/{user}").json()
    of_user = [one for one in wanted if one["user_id"] == user]
    assert [(event_time(one["start"]), one["events"]) for one in answer["sessions"]] == [
        (pytest.approx(one["start"], abs=1e-3), one["events"]) for one in of_user
    ]
    assert not any(one["open"] for one in answer["sessions"])


def test_what_is_too_late_goes_to_the_late_events(service: Service) -> None:
    service.worker(**SETTINGS).wait_ready()
    now, old = event(1, "u", START + 7200, "view"), event(2, "u", START, "view")
    for one in (now, old):
        service.send("activity.raw", [(b"u", json.dumps(one).encode())])
        service.wait_done()
    service.wait_done(topic="activity.enriched")
    told = {dict(one.headers)["table"]: one for one in service.read("activity.late")}
    late = told[b"sessions"]
    headers = dict(late.headers)
    assert (late.key, json.loads(late.value)["event_id"]) == (b"u", "e2")
    assert (headers["table"], headers["late-by"]) == (b"sessions", b"5100.000")
    assert headers["origin"].decode().startswith(service.topic("activity.enriched/"))
    tables = service.workers[-1].get("/tables").json()["tables"]
    (shown,) = [table for table in tables if table["name"] == "sessions"]
    assert shown["late"] == 1


def test_an_agent_that_is_not_there_is_told(service: Service) -> None:
    done = service.command("topics", check=False, MILLSTREAM_AGENTS="activity,nobody")
    assert done.returncode != 0
    assert "there is no agent 'nobody'" in done.stderr
    assert "activity,page_totals,totals,users" in done.stderr
