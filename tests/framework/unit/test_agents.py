"""Agents of all kinds of tables, run by the real engine on records in memory."""

from collections.abc import Iterator
from typing import Any

import pytest
from faust.types import TP

from millstream.engine.upstream_watermarks import watermark_marker
from millstream.engine.watermark_forwarder import WatermarkForwarder
from millstream.kafka.partitioner import partition_for
from millstream.serde.json import encode
from millstream.tables.table import Range
from millstream.testing.driver import Driver, Output
from millstream.testing.memory_engine import AgentFailedError
from tests.framework.apps.shop import app

START = 1_700_000_000.0


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver(app, now=START + 100_000) as driver:
        yield driver


def event(event_id: str, at: float = START, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "user_id": "u", "action": "login", "timestamp": at, **fields}


def test_an_invalid_record_is_a_dead_letter(driver: Driver) -> None:
    driver.send("shop.raw", b"{", key="u")
    (letter,) = driver.read("shop.dead-letters")
    assert (letter.key, letter.value) == ("u", b"{")
    assert letter.headers["code"] == b"not-json"
    assert driver.read("shop.clean") == []


def test_views_are_added_up_over_partitions() -> None:
    with Driver(app, partitions=4, now=START + 100) as driver:
        for n in range(40):
            driver.send("shop.raw", event(f"e{n}", user_id=f"u{n}", action="view", page="/a"))
        assert len({count.partition for count in driver.read("shop.clean")}) == 4
        totals = driver.read("shop.page-totals")
        assert max(total.value["views"] for total in totals) == 40
        answer = driver.query("page-totals", "/a")
        assert answer is not None
        assert answer["total"] == {"views": 40}


@pytest.mark.parametrize("lose_disk", [False, True])
def test_state_survives_a_restart(driver: Driver, lose_disk: bool) -> None:
    driver.send("shop.raw", event("e1", action="view", page="/a"))
    driver.restart(lose_disk=lose_disk)
    driver.send("shop.raw", event("e1", action="view", page="/a"))
    driver.send("shop.raw", event("e2", action="view", page="/a"))
    assert [one.value["event_id"] for one in driver.read("shop.clean")] == ["e1", "e2"]
    assert [one.value["views"] for one in driver.read("shop.page-totals")] == [1, 2]


def test_a_session_is_emitted_when_it_is_over(driver: Driver) -> None:
    driver.send("shop.raw", event("e1", action="view", page="/a"))
    driver.send("shop.raw", event("e2", START + 600, action="buy", amount=3.5))
    driver.send("shop.raw", event("e3", START + 300, action="view", page="/b"))
    assert driver.read("shop.sessions") == []
    assert driver.query("sessions", "u", Range(limit=1)) == {
        "sessions": [
            {
                "start": "2023-11-14T22:13:20Z",
                "end": "2023-11-14T22:23:20Z",
                "open": True,
                "partition": 0,
                "events": 3,
                "amount": 3.5,
            }
        ]
    }
    driver.send("shop.raw", event("e4", START + 600 + 35 * 60, user_id="other"))
    (session,) = driver.read("shop.sessions")
    assert session.value == {
        "user_id": "u",
        "start": START,
        "end": START + 600,
        "events": 3,
        "amount": 3.5,
    }
    driver.send("shop.raw", event("e5", START + 60))
    late = {one.headers["table"]: one for one in driver.read("shop.late")}
    assert late.keys() == {b"sessions", b"users-of-minutes"}
    assert late[b"sessions"].value["event_id"] == "e5"
    assert late[b"sessions"].headers["late-by"] == b"540.000"


def test_a_silent_partition_closes_its_sessions(driver: Driver) -> None:
    driver.send("shop.raw", event("e1", action="view", page="/a"))
    driver.advance(34 * 60)
    assert driver.read("shop.sessions") == []
    driver.restart()
    driver.advance(59)
    assert driver.read("shop.sessions") == []
    driver.advance(60)
    (session,) = driver.read("shop.sessions")
    assert session.value["events"] == 1
    assert session.headers["origin"] == b"shop.clean/0/0"
    driver.advance(3600)
    driver.send("shop.raw", event("e2", START + 60))
    late = {one.headers["table"]: one for one in driver.read("shop.late")}
    assert late[b"sessions"].value["event_id"] == "e2"


@pytest.mark.parametrize("lose_disk", [False, True])
def test_a_crash_closes_the_same_again(driver: Driver, lose_disk: bool) -> None:
    driver.send("shop.raw", event("e1", action="view", page="/a"))
    log = driver._logs["shop.clean", 0]
    append, appended = log.append, []

    async def fail(entries: Any) -> int:
        appended.append(entries)
        if len(appended) == 2:  # the plan is there, the move is not
            raise ConnectionError("as told")
        return await append(entries)

    log.append = fail  # type: ignore[method-assign] # to fail at the right moment
    driver.advance(36 * 60)
    assert len(appended) > 3
    first, second = driver.read("shop.sessions")
    assert first == second
    driver.restart(lose_disk=lose_disk)
    driver.send("shop.raw", event("e2", START + 60))
    assert b"sessions" in {one.headers["table"] for one in driver.read("shop.late")}
    assert driver.read("shop.sessions") == []


def user_in(partition: int) -> str:
    """Return a user whose events lie in one of four partitions."""
    return next(f"user-{n}" for n in range(100) if partition_for(f"user-{n}".encode(), 4) == partition)


def final(outputs: list[Output]) -> list[dict[str, Any]]:
    return [one.value for one in outputs if one.value["final"]]


def test_totals_wait_for_the_slowest_partition() -> None:
    with Driver(app, partitions=4) as driver:
        for number in range(4):
            sale = {"action": "buy", "amount": 2.5, "country": "GB", "user_id": user_in(number)}
            driver.send("shop.raw", event(f"sale-{number}", START, **sale))
            view = {"action": "view", "page": f"/{number // 2}", "user_id": user_in(number)}
            driver.send("shop.raw", event(f"view-{number}", START + 1, **view))
        minutes = driver.read("shop.users-per-minute")
        assert [one.value["users"] for one in minutes] == [1, 1, 2, 2, 3, 3, 4, 4]
        later = START + 2 * 86400
        for number in range(3):
            driver.send("shop.raw", event(f"later-{number}", later, user_id=user_in(number)))
        # The fourth partition may still have events of the first day.
        assert final(driver.read("shop.users-per-minute")) == []
        assert driver.read("shop.top-pages") == []
        driver.restart(lose_disk=True)
        driver.send("shop.raw", event("late", START + 60, user_id=user_in(3)))
        driver.send("shop.raw", event("later-3", later, user_id=user_in(3)))
        minute = int(START // 60 * 60)
        minutes = driver.read("shop.users-per-minute")
        # What closes them is a mark of the last partition.
        (topic, partition, offset) = minutes[-1].headers["origin"].decode().split("/")
        moved = driver._kafka.records(topic, int(partition), int(offset))[0]
        assert (moved.key, moved.value) == (b"shop.clean/3", None)
        assert final(minutes) == [
            {"window_start": minute, "window_end": minute + 60, "users": 4, "final": True},
            {"window_start": minute + 60, "window_end": minute + 120, "users": 1, "final": True},
        ]
        (top,) = driver.read("shop.top-pages")
        assert top.value["pages"] == [{"item": "/0", "weight": 2}, {"item": "/1", "weight": 2}]
        assert driver.read("shop.partials.late") == []
        assert driver.query("users-per-minute", "all", Range(limit=1))["windows"][0]["users"] == 4  # type: ignore[index] # it is there


def test_reported_watermarks_are_state(monkeypatch: pytest.MonkeyPatch) -> None:
    with Driver(app, partitions=4) as driver:
        for number in range(4):
            driver.send("shop.raw", event(f"e{number}", START + number, user_id=user_in(number)))

        async def forward(_: WatermarkForwarder) -> bool:
            return False

        monkeypatch.setattr(WatermarkForwarder, "forward", forward)  # as when other workers own what tells it
        driver.restart(lose_disk=True)
        known = driver._pipeline.engine.partitions[TP("shop.partials", 1)].cursor.upstream
        assert known == {f"shop.clean/{number}": START + number for number in range(4)}


def test_a_final_total_has_the_watermark_marker_as_its_origin_among_events() -> None:
    with Driver(app) as driver:
        driver.send("shop.raw", event("e1"))
        end = driver._kafka.end("shop.partials", 0)
        minute = int(START // 60 * 60)
        made_up = {"table": "users-per-minute", "key": "all", "partition": 0, "version": 9, "users": 7}
        for record in (
            (b"all", encode(made_up | {"window_start": minute})),
            (b"all", encode(made_up | {"window_start": minute + 7200})),
        ):
            driver._kafka.put("shop.partials", 0, *record, [])
        driver._kafka.put("shop.partials", 0, *watermark_marker("shop.clean/0", START + 3600, 1))
        driver.advance(0)
        (told,) = [one for one in driver.read("shop.users-per-minute") if one.value["final"]]
        assert told.value["users"] == 7
        assert told.headers["origin"] == b"shop.partials/0/%d" % (end + 2)


def test_totals_do_not_wait_for_a_partition_without_events() -> None:
    with Driver(app, partitions=4) as driver:
        driver.advance(1000)  # all have told that they have no events
        driver.send("shop.raw", event("e1", user_id=user_in(2)))
        driver.send("shop.raw", event("e2", START + 3600, user_id=user_in(2)))
        # Those of the others may be on their way: the first ones are no reason to close anything.
        driver.advance(60)
        driver.send("shop.raw", event("e3", START + 3600, user_id=user_in(1)))
        assert final(driver.read("shop.users-per-minute")) == []
        driver.advance(60)
        minutes = final(driver.read("shop.users-per-minute"))
        assert [minute["users"] for minute in minutes] == [1]
        # What comes there after that is late, where it is.
        driver.send("shop.raw", event("e4", user_id=user_in(0)))
        assert [one.headers["table"] for one in driver.read("shop.partials.late")] == [b"users-per-minute"]


def test_too_many_dead_letters_end_the_worker(driver: Driver) -> None:
    for _ in range(5000):
        driver.send("shop.raw", b"{", key="u")
    with pytest.raises(AgentFailedError, match="too many dead letters"):
        driver.send("shop.raw", b"{", key="u")
    assert len(driver.read("shop.dead-letters")) == 5000
