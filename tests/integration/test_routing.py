"""Any worker answers for any key: under load, while workers come, go and die, never a wrong value."""

import json
import random
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from millstream.sources.record import Record
from tests.framework import routing
from tests.framework.routing import Queried, Value, added
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

SETTINGS = {"MILLSTREAM_AGENTS": "activity,page_totals,users,totals"}
START = 1_700_000_000
RATE = 400
ASKED = 100
USERS = [f"user-{n}" for n in range(300)]
PAGES = [f"/p/{n}" for n in range(150)]
COUNTRIES = ["GB", "FR", "DE", "NL", "ES", "IT", "US", "SE", "PL", "CH"]
RAW, ENRICHED, COUNTS, PARTIALS = (
    "activity.raw",
    "activity.enriched",
    "activity.page-counts",
    "activity.partials",
)


def records(seed: int) -> Iterator[Record]:
    """Make activity in the order of its time, some of it twice."""
    rand = random.Random(seed)
    for n in count():
        user = rand.choice(USERS)
        event: dict[str, Any] = {"event_id": f"e{n}", "user_id": user, "timestamp": START + n / RATE}
        event["action"] = rand.choice(["view", "view", "view", "click", "purchase"])
        if event["action"] == "purchase":
            event |= {"amount": rand.randrange(1, 100_000) / 100, "country": rand.choice(COUNTRIES)}
        else:
            event["page"] = rand.choice(PAGES)
        for _ in range(1 + (n % 20 == 0)):
            yield Record(user.encode(), json.dumps(event).encode(), event["timestamp"])


def keys(raw_topic: str) -> dict[str, list[str]]:
    rand = random.Random(7)
    ids = [f"e{n}" for n in range(4000)]
    origins = [f"{raw_topic}/{p}/{n}" for p in range(4) for n in range(1000)]
    of = {
        "seen": ids,
        "page-views": PAGES,
        "sales": COUNTRIES,
        "page-totals": PAGES,
        "profiles": USERS,
        "sessions": USERS,
        "clicks-and-purchases": USERS,
        "users-taken": origins,
        "sales-of-days": COUNTRIES,
        "users-of-minutes": ["all"],
        "users-per-minute": ["all"],
        "sales-per-day": COUNTRIES,
    }
    return {table: rand.sample(of[table], min(ASKED, len(of[table]))) for table in TABLES}


def sold(total: dict[str, Any]) -> Value:
    return total["purchases"], total["refunds"], round(total["amount"] * 1_000_000)


def done(total: dict[str, Any]) -> Value:
    return total["events"], total["views"], total["purchases"], round(total["amount"] * 1_000_000)


def users(body: dict[str, Any]) -> int:
    return sum(one["users"] for one in body["windows"])


# `top-pages` has nothing before five minutes are over, and `views-of-pages` is what makes it.
TABLES = {
    "seen": Queried(RAW, False, lambda body: (body["partition"], body["offset"]), unique=True),
    "page-views": Queried(RAW, False, lambda body: (body["total"]["views"],)),
    "sales": Queried(RAW, False, lambda body: sold(body["total"]), 3),
    "page-totals": Queried(COUNTS, True, lambda body: (body["total"]["views"],)),
    "profiles": Queried(ENRICHED, True, lambda body: done(body["value"]), 4),
    "sessions": Queried(ENRICHED, True, lambda body: added(map(done, body["sessions"]), 4), 4),
    "clicks-and-purchases": Queried(ENRICHED, True, lambda body: (len(body["left"]), len(body["right"])), 2),
    "users-taken": Queried(ENRICHED, False, lambda body: (body["partition"],), unique=True),
    "sales-of-days": Queried(ENRICHED, False, lambda body: sold(body["total"]), 3),
    "users-of-minutes": Queried(ENRICHED, False, lambda body: (users(body),)),
    "users-per-minute": Queried(PARTIALS, True, lambda body: (users(body),)),
    "sales-per-day": Queried(PARTIALS, True, lambda body: sold(body["total"]), 3),
}


class Truth(routing.Truth):
    """What each table must say of a key, from the topics."""

    def __init__(self, service: Service) -> None:
        super().__init__(TABLES)
        seen: set[tuple[int, str]] = set()
        for r in self.read(service, RAW):
            event = json.loads(r.value)
            if (r.partition, event["event_id"]) not in seen:
                seen.add((r.partition, event["event_id"]))
                self._raw(r, event)
        taken: set[bytes] = set()
        for r in self.read(service, ENRICHED):
            origin = dict(r.headers)["origin"]
            if origin not in taken:
                taken.add(origin)
                self._enriched(r, origin.decode(), json.loads(r.value))
        for r in self.read(service, COUNTS):
            one = json.loads(r.value)
            slot = (one["partition"], one["window_start"])
            self.add("page-totals", one["page"], r, (one["views"],), slot=slot, version=one["version"])
        for r in self.read(service, PARTIALS):
            one = json.loads(r.value)
            slot = (one["partition"], one["window_start"])
            if one["table"] != "top-pages":
                value = (one["users"],) if one["sales"] is None else tuple(one["sales"])
                self.add(one["table"], one["key"], r, value, slot=slot, version=one["version"])

    def _raw(self, record: Any, event: dict[str, Any]) -> None:
        self.add("seen", event["event_id"], record, (record.partition, record.offset))
        if event["action"] == "view":
            self.add("page-views", event["page"], record, (1,))
        elif event["action"] == "purchase":
            self.add("sales", event["country"], record, _sale(event))

    def _enriched(self, record: Any, origin: str, event: dict[str, Any]) -> None:
        user = event["user_id"]
        self.add("users-taken", origin, record, (record.partition,))
        bought = event["action"] == "purchase"
        value = (1, int(event["action"] == "view"), int(bought), _sale(event)[2] if bought else 0)
        for table in ("profiles", "sessions"):
            self.add(table, user, record, value)
        if event["action"] in ("click", "purchase"):
            self.add("clicks-and-purchases", user, record, (int(not bought), int(bought)))
        if bought:
            self.add("sales-of-days", event["country"], record, _sale(event))
        minute = event["timestamp"] // 60
        self.add("users-of-minutes", "all", record, (1,), slot=(minute, user))


def _sale(event: dict[str, Any]) -> Value:
    return 1, 0, round(event["amount"] * 1_000_000)


def test_a_key_is_right_at_each_worker_while_they_come_go_and_die(service: Service) -> None:
    workers = [service.worker(str(n), **SETTINGS) for n in range(3)]
    for worker in workers:
        worker.wait_ready()
    asked = keys(service.topic(RAW))
    asker, phases = routing.ask_through_faults(service, workers, asked, records(5), RATE, **SETTINGS)
    for topic in (RAW, ENRICHED, COUNTS, PARTIALS):
        service.wait_done(topic=topic)
    routing.judge(Truth(service), asker, phases)
