"""The agents of the service, run by the real engine on records in memory."""

from collections.abc import Iterator
from typing import Any

import pytest

from app import app
from millstream.kafka.partitioner import partition_for
from millstream.tables.table import Range
from millstream.testing.driver import Driver, Output

START = 1_700_000_000.0
app.load_agents("users", "totals")


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver(app, now=START + 100_000) as driver:
        yield driver


def event(event_id: str, at: float = START, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "user_id": "u", "action": "login", "timestamp": at, **fields}


def test_an_event_is_enriched_once(driver: Driver) -> None:
    bought = event("e1", action="purchase", amount=700.0, country="Germany")
    driver.send("activity.raw", bought)
    driver.send("activity.raw", bought)
    (enriched,) = driver.read("activity.enriched")
    assert enriched.key == "u"
    assert enriched.value == {
        **bought,
        "page": None,
        "quantity": None,
        "currency": None,
        "session_id": None,
        "attributes": None,
        "risk_level": "medium",
        "region": "Europe",
    }
    assert enriched.headers == {"origin": b"activity.raw/0/0"}
    sales = driver.query("sales", "Germany")
    assert sales is not None
    assert sales["total"] == {"purchases": 1, "refunds": 0, "amount": 700.0}


def test_an_invalid_record_is_a_dead_letter(driver: Driver) -> None:
    driver.send("activity.raw", b"{", key="u")
    (letter,) = driver.read("activity.dead-letters")
    assert (letter.key, letter.value) == ("u", b"{")
    assert letter.headers["code"] == b"not-json"
    assert driver.read("activity.enriched") == []


def test_views_are_added_up_over_partitions() -> None:
    with Driver(app, partitions=4, now=START + 100) as driver:
        for n in range(40):
            driver.send("activity.raw", event(f"e{n}", user_id=f"u{n}", action="view", page="/a"))
        assert len({count.partition for count in driver.read("activity.enriched")}) == 4
        totals = driver.read("activity.page-totals")
        assert max(total.value["views"] for total in totals) == 40
        answer = driver.query("page-totals", "/a")
        assert answer is not None
        assert answer["total"] == {"views": 40}


def test_a_session_is_emitted_when_it_is_over(driver: Driver) -> None:
    driver.send("activity.raw", event("e1", action="view", page="/a"))
    driver.send("activity.raw", event("e2", START + 600, action="purchase", amount=3.5))
    driver.send("activity.raw", event("e3", START + 300, action="view", page="/b"))
    assert driver.read("activity.sessions") == []
    assert driver.query("sessions", "u", Range(limit=1)) == {
        "sessions": [
            {
                "start": "2023-11-14T22:13:20Z",
                "end": "2023-11-14T22:23:20Z",
                "open": True,
                "partition": 0,
                "events": 3,
                "views": 2,
                "purchases": 1,
                "amount": 3.5,
            }
        ]
    }
    driver.send("activity.raw", event("e4", START + 600 + 35 * 60, user_id="other"))
    (session,) = driver.read("activity.sessions")
    assert session.value == {
        "user_id": "u",
        "start": START,
        "end": START + 600,
        "events": 3,
        "views": 2,
        "purchases": 1,
        "amount": 3.5,
    }
    driver.send("activity.raw", event("e5", START + 60))
    late = {one.headers["table"]: one for one in driver.read("activity.late")}
    assert late.keys() == {b"sessions", b"users-of-minutes"}
    assert late[b"sessions"].value["event_id"] == "e5"
    assert late[b"sessions"].headers["late-by"] == b"540.000"


def test_a_profile_has_what_a_user_did(driver: Driver) -> None:
    for n in range(12):
        driver.send("activity.raw", event(f"view-{n}", START + n, action="view", page=f"/{n % 3}"))
    driver.send("activity.raw", event("bought", START + 5.5, action="purchase", amount=0.1))
    driver.restart(lose_disk=True)
    driver.send("activity.raw", event("again", START + 20, action="purchase", amount=0.2))
    profile = driver.read("activity.profiles")[-1].value
    pages = [{"page": "/0", "views": 4}, {"page": "/1", "views": 4}, {"page": "/2", "views": 4}]
    assert profile["latest"][:2] == [
        {"action": "purchase", "timestamp": START + 20, "page": None},
        {"action": "view", "timestamp": START + 11, "page": "/2"},
    ]
    assert [one["timestamp"] - START for one in profile["latest"]] == [20, 11, 10, 9, 8, 7, 6, 5.5, 5, 4]
    assert profile["pages"] == pages
    assert profile["pages_error"] == 0
    assert (profile["events"], profile["views"], profile["purchases"], profile["amount"]) == (14, 12, 2, 0.3)
    answer = driver.query("profiles", "u")
    assert answer is not None
    assert answer["value"]["latest"][0]["timestamp"] == START + 20


def test_a_purchase_is_emitted_with_the_clicks_before_it(driver: Driver) -> None:
    driver.send("activity.raw", event("click-1", action="click", page="/a"))
    driver.send("activity.raw", event("bought", START + 1800, action="purchase", amount=2.5))
    driver.send("activity.raw", event("click-2", START + 1750, action="click"))
    driver.send("activity.raw", event("alone", START + 3700, action="purchase"))
    driver.restart(lose_disk=True)
    driver.send("activity.raw", event("later", START + 3700 + 1800 + 301))
    told = [one.value for one in driver.read("activity.conversions")]
    assert [(one["purchase_id"], one["click_id"], one["page"]) for one in told] == [
        ("bought", "click-1", "/a"),
        ("bought", "click-2", None),
        ("alone", None, None),
    ]
    assert (told[0]["clicked"], told[0]["purchased"], told[0]["amount"]) == (START, START + 1800, 2.5)


def user_in(partition: int) -> str:
    """Return a user whose events lie in one of four partitions."""
    return next(f"user-{n}" for n in range(100) if partition_for(f"user-{n}".encode(), 4) == partition)


def final(outputs: list[Output]) -> list[dict[str, Any]]:
    return [one.value for one in outputs if one.value["final"]]


def test_totals_wait_for_the_slowest_partition() -> None:
    with Driver(app, partitions=4) as driver:
        for number in range(4):
            sale = {"action": "purchase", "amount": 2.5, "country": "GB", "user_id": user_in(number)}
            driver.send("activity.raw", event(f"sale-{number}", START, **sale))
            view = {"action": "view", "page": f"/{number // 2}", "user_id": user_in(number)}
            driver.send("activity.raw", event(f"view-{number}", START + 1, **view))
        minutes = driver.read("activity.users-per-minute")
        assert [one.value["users"] for one in minutes] == [1, 1, 2, 2, 3, 3, 4, 4]
        later = START + 2 * 86400
        for number in range(3):
            driver.send("activity.raw", event(f"later-{number}", later, user_id=user_in(number)))
        # The fourth partition may still have events of the first day.
        assert final(driver.read("activity.users-per-minute")) == []
        assert driver.read("activity.top-pages") == []
        driver.restart(lose_disk=True)
        driver.send("activity.raw", event("late", START + 60, user_id=user_in(3)))
        driver.send("activity.raw", event("later-3", later, user_id=user_in(3)))
        minute = int(START // 60 * 60)
        minutes = driver.read("activity.users-per-minute")
        # What closes them is a mark of the last partition.
        (topic, partition, offset) = minutes[-1].headers["origin"].decode().split("/")
        moved = driver._kafka.records(topic, int(partition), int(offset))[0]
        assert (moved.key, moved.value) == (b"activity.enriched/3", None)
        assert final(minutes) == [
            {"window_start": minute, "window_end": minute + 60, "users": 4, "final": True},
            {"window_start": minute + 60, "window_end": minute + 120, "users": 1, "final": True},
        ]
        (sales,) = final(driver.read("activity.sales-per-day"))
        assert (sales["country"], sales["purchases"], sales["amount"]) == ("GB", 4, 10.0)
        (top,) = driver.read("activity.top-pages")
        assert top.value["pages"] == [{"page": "/0", "views": 2}, {"page": "/1", "views": 2}]
        assert driver.read("activity.partials.late") == []
        assert driver.query("users-per-minute", "all", Range(limit=1))["windows"][0]["users"] == 4  # type: ignore[index] # it is there
