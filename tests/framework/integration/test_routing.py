"""Any worker answers for any key: under load, while workers come, go and die, never a wrong value."""

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from millstream.sources.record import Record
from tests.framework import routing
from tests.framework.routing import Queried
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

START = 1_700_000_000
RATE = 400
ASKED = 100
USERS = [f"user-{n}" for n in range(300)]
PAGES = [f"/p/{n}" for n in range(150)]

RAW, COUNTS = "visits.raw", "visits.page-counts"
TABLES = {
    "seen": Queried(RAW, False, lambda body: (body["partition"], body["offset"]), unique=True),
    "page-views": Queried(RAW, False, lambda body: (body["total"]["views"],)),
    "sales": Queried(RAW, False, lambda body: (body["total"]["purchases"], body["total"]["pieces"]), 2),
    "users": Queried(RAW, True, lambda body: (body["value"]["visits"],)),
    "page-totals": Queried(COUNTS, True, lambda body: (body["total"]["views"],)),
}


def records(seed: int) -> Iterator[Record]:
    """Make visits in the order of their time, some of them twice."""
    rand = random.Random(seed)
    for n in count():
        user = rand.choice(USERS)
        event: dict[str, Any] = {"event_id": f"e{n}", "user_id": user, "timestamp": START + n / RATE}
        if rand.random() < 0.2:
            event |= {"action": "buy", "pieces": rand.randrange(1, 10)}
        else:
            event |= {"action": "view", "page": rand.choice(PAGES)}
        for _ in range(1 + (n % 20 == 0)):
            yield Record(user.encode(), json.dumps(event).encode(), event["timestamp"])


def keys() -> dict[str, list[str]]:
    rand = random.Random(7)
    of = {"seen": [f"e{n}" for n in range(4000)], "page-views": PAGES, "page-totals": PAGES}
    of |= {"sales": USERS, "users": USERS}
    return {table: rand.sample(of[table], min(ASKED, len(of[table]))) for table in TABLES}


def truth_of(service: Service) -> routing.Truth:
    """Read from the topics what each table must say of a key."""
    truth = routing.Truth(TABLES)
    seen: set[tuple[int, str]] = set()
    for record in truth.read(service, RAW):
        visit = json.loads(record.value)
        if (record.partition, visit["event_id"]) in seen:
            continue
        seen.add((record.partition, visit["event_id"]))
        truth.add("seen", visit["event_id"], record, (record.partition, record.offset))
        truth.add("users", visit["user_id"], record, (1,))
        if visit["action"] == "view":
            truth.add("page-views", visit["page"], record, (1,))
        else:
            truth.add("sales", visit["user_id"], record, (1, visit["pieces"]))
    for record in truth.read(service, COUNTS):
        one = json.loads(record.value)
        slot = (one["partition"], one["window_start"])
        truth.add("page-totals", one["page"], record, (one["views"],), slot=slot, version=one["version"])
    return truth


def test_a_key_is_right_at_each_worker_while_they_come_go_and_die(service: Service) -> None:
    workers = [service.worker(str(n)) for n in range(3)]
    for worker in workers:
        worker.wait_ready()
    asker, phases = routing.ask_through_faults(service, workers, keys(), records(5), RATE)
    for topic in (RAW, COUNTS):
        service.wait_done(topic=topic)
    routing.judge(truth_of(service), asker, phases)


def test_a_worker_that_stood_still_does_not_answer_with_what_it_knew(service: Service) -> None:
    frozen, other = (service.worker(name).wait_ready() for name in ("0", "1"))
    users = USERS[:40]

    def send(number: int) -> None:
        events = [
            {"event_id": f"{user} {number}", "user_id": user, "action": "view", "timestamp": START + number}
            for user in users
        ]
        service.send(RAW, [(one["user_id"].encode(), json.dumps(one).encode()) for one in events])

    send(1)
    service.wait_done()
    frozen.wait_ready()
    mine = [user for user in users if frozen.get(f"/tables/users/{user}?local=true").status_code == 200]
    assert 0 < len(mine) < len(users)
    frozen.process.send_signal(signal.SIGSTOP)
    send(2)
    service.wait_done()  # the other has taken over
    with ThreadPoolExecutor(2 * len(mine)) as threads:
        # They wait in its socket, and are the first that it meets.
        paths = [f"/tables/users/{user}{local}" for user in mine for local in ("", "?local=true")]
        answers = [threads.submit(frozen.get, path) for path in paths]
        time.sleep(0.5)
        frozen.process.send_signal(signal.SIGCONT)
        found = [answer.result() for answer in answers]
    said = Counter(
        (one.status_code, one.json()["value"]["visits"] if one.status_code == 200 else None) for one in found
    )
    print(f"\nafter standing still: {dict(said)}")
    assert set(said) <= {(200, 2), (503, None), (404, None)}
    assert all(one.status_code != 404 for one in found[::2])  # only of what it does not hold any more
    for worker in (frozen, other):
        worker.wait_ready()
        shown = [worker.get(f"/tables/users/{user}").json()["value"]["visits"] for user in users]
        assert shown == [2] * len(users)
