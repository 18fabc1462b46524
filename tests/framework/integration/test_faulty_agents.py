"""Agents that fail: nothing is lost, nothing is counted twice, and the worker says what is wrong."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.framework.service import Service

pytestmark = pytest.mark.kafka


@pytest.fixture
def faulty(kafka: str, tmp_path: Path) -> Iterator[Service]:
    with Service(kafka, tmp_path, app="tests.framework.apps.faulty") as service:
        yield service


def order(number: int, fault: str = "", user: str = "u") -> tuple[bytes, bytes]:
    return user.encode(), json.dumps(
        {"event_id": f"e{number}", "user_id": user, "fault": fault, "timestamp": 60}
    ).encode()


def check(service: Service, count: int) -> None:
    service.wait_done(topic="faulty.raw")
    once = [json.loads(r.value)["event_id"] for r in service.read_once("faulty.done")]
    assert Counter(once) == Counter(f"e{n}" for n in range(count))
    answer = service.workers[-1].get("/tables/faulty/u").json()
    assert answer["total"] == {"count": count}


def test_a_batch_whose_agent_raises_is_computed_again(faulty: Service) -> None:
    worker = faulty.worker().wait_ready()
    faulty.send("faulty.raw", [order(n, "raise" if n in (5, 17) else "") for n in range(20)])
    check(faulty, 20)
    assert "RuntimeError: as told" in worker.log.read_text()
    assert worker.process.poll() is None


def test_a_batch_that_is_left_out_is_fetched_again(faulty: Service) -> None:
    worker = faulty.worker().wait_ready()
    faulty.send("faulty.raw", [order(0, "left-out")])
    faulty.wait_done(topic="faulty.raw")
    faulty.send("faulty.raw", [order(1)])
    for n in range(2, 30):
        faulty.send("faulty.raw", [order(n)])
    check(faulty, 30)
    assert "an agent has left out a batch" in worker.log.read_text()


def test_an_agent_that_always_raises_stops_the_worker_and_loses_nothing(faulty: Service) -> None:
    worker = faulty.worker(FAULTY_TRIES="1000").wait_ready()
    faulty.send("faulty.raw", [order(n, "raise" if n == 3 else "") for n in range(5)])
    assert worker.process.wait(60) not in (0, None)
    assert "failed 8 times in a row: RuntimeError('as told')" in worker.log.read_text()
    faulty.workers.clear()
    faulty.worker(FAULTY_TRIES="0").wait_ready()
    check(faulty, 5)


def dead_letters(service: Service) -> dict[str, str]:
    once = service.read_once("faulty.dead-letters")
    return {json.loads(r.value)["event_id"]: dict(r.headers)["reason"].decode() for r in once}


def test_an_event_that_is_refused_becomes_a_dead_letter(faulty: Service) -> None:
    worker = faulty.worker(MILLSTREAM_LOG="json").wait_ready()
    faulty.send("faulty.raw", [order(n, "reject" if n in (3, 4, 17) else "") for n in range(20)])
    faulty.wait_done(topic="faulty.raw")
    assert dead_letters(faulty) == dict.fromkeys(["e3", "e4", "e17"], "ValueError: no such article")
    assert worker.get("/tables/faulty/u").json()["total"] == {"count": 17}
    assert worker.process.poll() is None
    lines = worker.log.read_text().splitlines()
    log = [json.loads(line) for line in lines[lines.index(next(x for x in lines if x[0] == "{")) :]]
    (told,) = {one["origin"].rpartition("/")[0] for one in log if "is a dead letter" in one["message"]}
    assert told.startswith(f"{faulty.topic('faulty.raw')}/")


def test_waiting_events_are_tried_again_in_order_also_after_a_crash(faulty: Service, tmp_path: Path) -> None:
    api = tmp_path / "api"
    worker = faulty.worker(FAULTY_API=str(api)).wait_ready()
    orders = [order(n, "later" if n == 3 else "", user="u" if n % 2 else "v") for n in range(20)]
    faulty.send("faulty.raw", orders)
    faulty.wait_done(topic="faulty.raw")
    before = Counter(json.loads(r.value)["event_id"] for r in faulty.read_once("faulty.done"))
    # What is of another key has gone on; what is of the same waits behind the first.
    assert before == Counter([*(f"e{n}" for n in range(0, 20, 2)), "e1"])
    worker.kill()
    faulty.workers.clear()
    worker = faulty.worker(FAULTY_API=str(api)).wait_ready()
    faulty.send("faulty.raw", [order(n, user="u") for n in range(20, 25)])
    faulty.wait_done(topic="faulty.raw")
    assert sum(p["waiting"] for p in worker.get("/health").json()["partitions"]) == 14
    api.touch()
    deadline = time.monotonic() + 30
    while sum(p["waiting"] for p in worker.get("/health").json()["partitions"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    done = [r for r in faulty.read("faulty.done") if r.key == b"u"]
    ids = list(dict.fromkeys(json.loads(r.value)["event_id"] for r in done))
    assert ids == [f"e{n}" for n in [*range(1, 20, 2), *range(20, 25)]]
    assert worker.get("/tables/faulty/u").json()["total"] == {"count": 15}
    assert worker.get("/tables/faulty/v").json()["total"] == {"count": 10}


def test_a_flood_of_dead_letters_stops_the_worker(faulty: Service) -> None:
    worker = faulty.worker(MILLSTREAM_DEAD_LETTER_RUN="10").wait_ready()
    good, bad = [order(n) for n in range(5)], [(b"u", b"no event %d" % n) for n in range(30)]
    faulty.send("faulty.raw", [*good[:2], *bad, *good[2:]])
    assert worker.process.wait(60) not in (0, None)
    assert "too many dead letters, 10 in a row" in worker.log.read_text()
    assert len(faulty.read_once("faulty.dead-letters")) == 10
    faulty.workers.clear()
    again = faulty.worker(MILLSTREAM_DEAD_LETTER_RUN="10")  # a new start lets no more of it pass
    assert again.process.wait(60) not in (0, None)
    assert len(faulty.read_once("faulty.dead-letters")) == 10
    faulty.workers.clear()
    faulty.worker(MILLSTREAM_DEAD_LETTER_RUN="0").wait_ready()
    check(faulty, 5)
    assert len(faulty.read_once("faulty.dead-letters")) == 30


def test_a_second_agent_with_options_of_its_own_is_refused(faulty: Service) -> None:
    worker = faulty.worker(FAULTY_SECOND="1")
    assert worker.process.wait(30) == 1
    assert "concurrency; the first agent of a topic has" in worker.log.read_text()


def test_a_batch_that_does_not_fit_one_commit_is_cut(kafka: str, tmp_path: Path) -> None:
    with Service(kafka, tmp_path, app="tests.framework.apps.small_commits", source="visits.raw") as service:
        service.command("topics")
        fields = {"user_id": "u", "action": "view", "page": "/a", "timestamp": 60}
        service.send(
            "visits.raw",
            [(b"u", json.dumps({"event_id": f"{n:0100}"} | fields).encode()) for n in range(3000)],
        )
        worker = service.worker().wait_ready()
        service.wait_done()
        once = service.read_once("visits.clean")
        assert len({json.loads(r.value)["event_id"] for r in once}) == len(once) == 3000
        assert worker.get("/tables/page-views//a").json()["total"] == {"views": 3000}
        assert "batches are cut to" in worker.log.read_text()
