"""Any worker answers for any key: under load, while workers come, go and die, never a wrong value."""

import json
import random
import signal
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, NamedTuple

import pytest

from app.engine.producer import partition_for
from app.sources.record import Record
from tests.asker import Answer, Asker
from tests.chaos.feed import Feed
from tests.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

SETTINGS = {"MILLSTREAM_AGENTS": "activity,page_totals,users,totals"}
START = 1_700_000_000
RATE = 400
ASKED = 100
USERS = [f"user-{n}" for n in range(300)]
PAGES = [f"/p/{n}" for n in range(150)]
COUNTRIES = ["GB", "FR", "DE", "NL", "ES", "IT", "US", "SE", "PL", "CH"]
# Seconds: a take-over takes ten at most, which tests/chaos/test_takeover.py judges; here five processes ask
# and feed on the same cores.
LONGEST = 15.0

RAW, ENRICHED, COUNTS, PARTIALS = (
    "activity.raw",
    "activity.enriched",
    "activity.page-counts",
    "activity.partials",
)
# Where each table's events come from, and whether its key is theirs. `top-pages` has nothing before five
# minutes are over, and `views-of-pages` is what makes it.
TABLES = {
    "seen": (RAW, False),
    "page-views": (RAW, False),
    "sales": (RAW, False),
    "page-totals": (COUNTS, True),
    "profiles": (ENRICHED, True),
    "sessions": (ENRICHED, True),
    "clicks-and-purchases": (ENRICHED, True),
    "users-taken": (ENRICHED, False),
    "sales-of-days": (ENRICHED, False),
    "users-of-minutes": (ENRICHED, False),
    "users-per-minute": (PARTIALS, True),
    "sales-per-day": (PARTIALS, True),
}
Place = tuple[str, int]
Value = tuple[int, ...]


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


def added(values: Iterable[Value], width: int) -> Value:
    total = [0] * width
    for value in values:
        for i, figure in enumerate(value):
            total[i] += figure
    return tuple(total)


# What an answer says, as figures that only grow.
FIGURES: dict[str, Callable[[Any], Value]] = {
    "seen": lambda body: (body["partition"], body["offset"]),
    "users-taken": lambda body: (body["partition"],),
    "page-views": lambda body: (body["total"]["views"],),
    "sales": lambda body: sold(body["total"]),
    "page-totals": lambda body: (body["total"]["views"],),
    "profiles": lambda body: done(body["value"]),
    "sessions": lambda body: added(map(done, body["sessions"]), 4),
    "clicks-and-purchases": lambda body: (len(body["left"]), len(body["right"])),
    "sales-of-days": lambda body: sold(body["total"]),
    "users-of-minutes": lambda body: (sum(one["users"] for one in body["windows"]),),
    "users-per-minute": lambda body: (sum(one["users"] for one in body["windows"]),),
    "sales-per-day": lambda body: sold(body["total"]),
}
WIDTH = {
    "sales": 3,
    "sales-of-days": 3,
    "sales-per-day": 3,
    "profiles": 4,
    "sessions": 4,
    "clicks-and-purchases": 2,
}
UNIQUE = ("seen", "users-taken")


class Change(NamedTuple):
    """What a record changes in a table's key: the newest version of each slot counts."""

    partition: int
    offset: int
    slot: Any
    version: int
    value: Value


class Truth:
    """What each table must say of a key when it holds the events up to some offsets, from the topics."""

    def __init__(self, service: Service) -> None:
        self.changes: dict[tuple[str, str], list[Change]] = defaultdict(list)
        self.ends: Counter[Place] = Counter()
        seen: set[tuple[int, str]] = set()
        for r in self._read(service, RAW):
            event = json.loads(r.value)
            if (r.partition, event["event_id"]) not in seen:
                seen.add((r.partition, event["event_id"]))
                self._raw(r.partition, r.offset, event)
        taken: set[bytes] = set()
        for r in self._read(service, ENRICHED):
            origin = dict(r.headers)["origin"]
            if r.value is not None and origin not in taken:
                taken.add(origin)
                self._enriched(r.partition, r.offset, origin.decode(), json.loads(r.value))
        for r in self._read(service, COUNTS):
            if r.value is not None:
                one = json.loads(r.value)
                slot = (one["partition"], one["window_start"])
                self._add("page-totals", one["page"], r, slot, one["version"], (one["views"],))
        for r in self._read(service, PARTIALS):
            if r.value is not None:
                one = json.loads(r.value)
                slot = (one["partition"], one["window_start"])
                if one["table"] != "top-pages":
                    value = (one["users"],) if one["sales"] is None else tuple(one["sales"])
                    self._add(one["table"], one["key"], r, slot, one["version"], value)

    def _read(self, service: Service, topic: str) -> Any:
        found = service.read(topic)
        for r in found:
            self.ends[topic, r.partition] = r.offset + 1
        return found

    def _add(self, table: str, key: str, r: Any, slot: Any, version: int, value: Value) -> None:
        self.changes[table, key].append(Change(r.partition, r.offset, slot, version, value))

    def _raw(self, partition: int, offset: int, event: dict[str, Any]) -> None:
        place = Change(partition, offset, (partition, offset), 0, ())
        self.changes["seen", event["event_id"]].append(place._replace(value=(partition, offset)))
        if event["action"] == "view":
            self.changes["page-views", event["page"]].append(place._replace(value=(1,)))
        elif event["action"] == "purchase":
            self.changes["sales", event["country"]].append(place._replace(value=_sale(event)))

    def _enriched(self, partition: int, offset: int, origin: str, event: dict[str, Any]) -> None:
        place, user = Change(partition, offset, (partition, offset), 0, ()), event["user_id"]
        self.changes["users-taken", origin].append(place._replace(value=(partition,)))
        bought = event["action"] == "purchase"
        value = (1, int(event["action"] == "view"), int(bought), _sale(event)[2] if bought else 0)
        for table in ("profiles", "sessions"):
            self.changes[table, user].append(place._replace(value=value))
        if event["action"] in ("click", "purchase"):
            waits = (int(not bought), int(bought))
            self.changes["clicks-and-purchases", user].append(place._replace(value=waits))
        if bought:
            self.changes["sales-of-days", event["country"]].append(place._replace(value=_sale(event)))
        minute = event["timestamp"] // 60
        self.changes["users-of-minutes", "all"].append(place._replace(slot=(minute, user), value=(1,)))

    def at(self, table: str, key: str, offsets: dict[int, int]) -> Value:
        """Return the figures of a key from the records before the offsets."""
        newest: dict[Any, tuple[int, Value]] = {}
        for partition, offset, slot, version, value in self.changes[table, key]:
            if offset < offsets.get(partition, 0) and (slot not in newest or version > newest[slot][0]):
                newest[slot] = (version, value)
        return added((value for _, value in newest.values()), WIDTH.get(table, 1))


def _sale(event: dict[str, Any]) -> Value:
    return 1, 0, round(event["amount"] * 1_000_000)


class Floors:
    """How far each partition was known to be at a time: what an owner has answered before."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        self._known: dict[Place, tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
        for answer in sorted(answers, key=lambda answer: answer.came):
            for part in answer.body.get("partitions", ()):
                times, offsets = self._known[TABLES[answer.table][0], part["partition"]]
                if part["role"] == "owner":
                    times.append(answer.came)
                    offsets.append(max(part["offset"] or 0, *offsets[-1:], 0))

    def at(self, topic: str, partition: int, moment: float) -> int:
        times, offsets = self._known[topic, partition]
        before = bisect_right(times, moment)
        return offsets[before - 1] if before else 0


def wrong(answer: Answer, truth: Truth, floors: Floors) -> str | None:
    """Return what is wrong with an answer; None if nothing is."""
    topic, keyed = TABLES[answer.table]
    changes = truth.changes[answer.table, answer.key]
    if answer.status == 404:
        late = [c for c in changes if c.offset < floors.at(topic, c.partition, answer.sent)]
        return f"not there, though it was committed: {late}" if late else None
    if answer.status != 200 or answer.body["partial"]:
        return f"{answer.status}: {answer.body}"
    parts = answer.body["partitions"]
    numbers = [partition_for(answer.key.encode(), 4)] if keyed else list(range(4))
    if [part["partition"] for part in parts] != numbers:
        return f"the partitions are not {numbers}: {parts}"
    offsets = {part["partition"]: part["offset"] or 0 for part in parts}
    for part in parts:
        number, offset = part["partition"], part["offset"] or 0
        if offset > truth.ends[topic, number]:
            return f"beyond the end of {number}: {offset}"
        if offset < (known := floors.at(topic, number, answer.sent - part["staleness"])):
            return f"older than what was known of {number}: {offset} < {known} ({part})"
    figures = FIGURES[answer.table](answer.body)
    if answer.table in UNIQUE:
        of = [c.value for c in changes if c.offset < truth.ends[topic, c.partition]]
        return None if figures in of else f"{figures}, not one of {of}"
    right = truth.at(answer.table, answer.key, offsets)
    if all(part["role"] == "owner" for part in parts):
        return None if figures == right else f"{figures}, not {right} at {offsets}"
    most = truth.at(answer.table, answer.key, dict.fromkeys(numbers, 1 << 62))
    if all(a <= b <= c for a, b, c in zip(right, figures, most, strict=True)):
        return None
    return f"{figures} of a standby, not from {right} to {most}"


def test_a_key_is_right_at_each_worker_while_they_come_go_and_die(service: Service) -> None:
    workers = [service.worker(str(n), **SETTINGS) for n in range(3)]
    for worker in workers:
        worker.wait_ready()
    feed = Feed(service.kafka, service.topic(RAW), records(5), RATE)
    phases: list[tuple[str, float]] = []
    with Asker(keys(service.topic(RAW))) as asker:

        def phase(name: str) -> None:
            phases.append((name, max((one.came for one in asker.answers), default=0.0)))

        for worker in workers:
            asker.add(worker)
        phase("load")
        asker.wait_pass(120)
        phase("scale-out")
        workers.append(service.worker("3", **SETTINGS))
        workers[3].wait_ready()
        asker.add(workers[3])
        asker.wait_pass(120)
        phase("scale-in")
        asker.remove(workers[2])
        assert workers[2].stop() == 0
        asker.wait_pass(120)
        phase("kill")
        asker.remove(workers[1])
        workers[1].kill()
        asker.wait_pass(120)
    feed.stop()
    assert feed.error is None
    service.workers = [workers[0], workers[3]]
    for topic in (RAW, ENRICHED, COUNTS, PARTIALS):
        service.wait_done(topic=topic)

    truth, floors = Truth(service), Floors(asker.answers)
    verdicts = [(answer, wrong(answer, truth, floors)) for answer in asker.answers]
    bad = [f"{one.url} {one.table}/{one.key}: {why}" for one, why in verdicts if why is not None]
    begins = [began for _, began in phases]
    outages: dict[str, list[float]] = defaultdict(list)
    asked: Counter[str] = Counter()
    standby: Counter[str] = Counter()
    for one in asker.answers:
        name = phases[max(bisect_right(begins, one.sent - one.outage) - 1, 0)][0]
        asked[name] += 1
        standby[name] += any(part.get("role") == "standby" for part in one.body.get("partitions", ()))
        if one.outage:
            outages[name].append(one.came - one.sent + one.outage)
    for name, _ in phases:
        waited = sorted(outages[name])
        figures = f"median {waited[len(waited) // 2]:.2f} s, worst {waited[-1]:.2f} s" if waited else "none"
        print(
            f"\n{name}: {asked[name]} answers, {standby[name]} with a standby's copy; "
            f"outages of keys: {len(waited)} ({figures})",
            end="",
        )
    print(f"\nwrong values: {len(bad)} of {len(verdicts)}; answers in vain: {len(asker.vain)}")
    assert bad == [], "\n".join(bad[:10])
    assert Counter(one.table for one in asker.answers).keys() == TABLES.keys()
    assert outages["kill"], "nobody asked for what the dead worker had: this run says nothing"
    assert max(max(waits, default=0.0) for waits in outages.values()) <= LONGEST
    reasons = Counter(one.status for one in asker.vain)
    assert set(reasons) <= {503}, [one.body for one in asker.vain if one.status != 503][:3]


def test_a_worker_that_stood_still_does_not_answer_with_what_it_knew(service: Service) -> None:
    frozen, other = (service.worker(name, **SETTINGS).wait_ready() for name in ("0", "1"))
    users = USERS[:40]

    def send(number: int) -> None:
        events = [
            {"event_id": f"{user} {number}", "user_id": user, "action": "login", "timestamp": START + number}
            for user in users
        ]
        service.send(RAW, [(one["user_id"].encode(), json.dumps(one).encode()) for one in events])

    send(1)
    for topic in (RAW, ENRICHED):
        service.wait_done(topic=topic)
    frozen.wait_ready()
    mine = [user for user in users if frozen.get(f"/tables/profiles/{user}?local=true").status_code == 200]
    assert 0 < len(mine) < len(users)
    frozen.process.send_signal(signal.SIGSTOP)
    send(2)
    for topic in (RAW, ENRICHED):  # the other has taken over
        service.wait_done(topic=topic)
    with ThreadPoolExecutor(2 * len(mine)) as threads:
        # They wait in its socket, and are the first that it meets.
        paths = [f"/tables/profiles/{user}{local}" for user in mine for local in ("", "?local=true")]
        answers = [threads.submit(frozen.get, path) for path in paths]
        time.sleep(0.5)
        frozen.process.send_signal(signal.SIGCONT)
        found = [answer.result() for answer in answers]
    said = Counter(
        (one.status_code, one.json()["value"]["events"] if one.status_code == 200 else None) for one in found
    )
    print(f"\nafter standing still: {dict(said)}")
    assert set(said) <= {(200, 2), (503, None), (404, None)}
    assert all(one.status_code != 404 for one in found[::2])  # only of what it does not hold any more
    for worker in (frozen, other):
        worker.wait_ready()
        shown = [worker.get(f"/tables/profiles/{user}").json()["value"]["events"] for user in users]
        assert shown == [2] * len(users)
