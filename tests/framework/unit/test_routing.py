"""Queries of a group of workers, in memory: who is asked, what is merged, what is said to be missing."""

import asyncio
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import msgspec
import pytest
from faust.types import TP
from rocksdict import DbClosedError

from millstream.kafka.group import Lease, Peer, Peers, now
from millstream.kafka.partitioner import partition_for
from millstream.state.snapshot import ClosedError, TooMuchError
from millstream.web import scatter_gather as gathering
from millstream.web.problems import ProblemError
from millstream.web.queries import Queries
from millstream.web.request import about_key, about_table, about_tables
from millstream.web.scatter_gather import PARTITIONS_HEADER, ScatterGather
from tests.framework.unit.test_queries import TABLES, Event, filled

TOPIC = "s"
KEYS = [f"k{n}" for n in range(20)]


class Copy(SimpleNamespace):
    """Stands for a partition that is owned, or for a standby's copy."""

    def snapshot(self) -> Any:
        if self.closed:
            raise ClosedError
        return self.rows

    def peek(self) -> Any:
        if not self.few:
            raise TooMuchError
        if self.closed:
            raise DbClosedError
        return self.rows


def copy(rows: Any, **more: Any) -> Copy:
    made = Copy(rows=rows, closed=False, at_work=True, name="s/n", staleness=0.0, few=True, **more)
    made.cursor, made.replica = SimpleNamespace(owned_state=made), made
    return made


class Group:
    """Three workers with four partitions; each but the last is followed by the worker after its owner."""

    def __init__(self, tables: dict[str, Any], rows: dict[str, list[Any]], keyed: set[str]) -> None:
        self.asked: list[tuple[str, str]] = []
        self.queries: dict[str, Queries] = {}
        self.engines: dict[str, Any] = {}
        self.down: dict[str, Callable[[], httpx.Response]] = {}
        owned = {0: [0, 1], 1: [2], 2: [3]}
        followed = {0: [], 1: [0, 1], 2: [2]}
        self.urls = [f"http://w{n}:1" for n in range(3)]
        peers = [Peer(self.urls[n], [(TOPIC, owned[n])], [(TOPIC, followed[n])]) for n in range(3)]
        (name,) = tables
        agents = {"agent": SimpleNamespace(channel=SimpleNamespace(topics=[TOPIC]))}
        for n, url in enumerate(self.urls):
            source = SimpleNamespace(topic=TOPIC, tables=list(tables.values()), keyed=keyed)
            lease = Lease()
            lease.renew(now(), 60)
            self.engines[url] = engine = SimpleNamespace(
                app=SimpleNamespace(conf=SimpleNamespace(topic_partitions=4), agents=agents),
                url=url,
                sources={TOPIC: source},
                peers=Peers(peers),
                lease=lease,
                topology=SimpleNamespace(references={}),
                partitions={TP(TOPIC, p): copy(rows[name][p]) for p in owned[n]},
                standbys=SimpleNamespace(copies={TP(TOPIC, p): copy(rows[name][p]) for p in followed[n]}),
            )
            client = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
            self.queries[url] = Queries(engine, ScatterGather(engine, lambda client=client: client))  # type: ignore[arg-type] # a part of one

    def copies(self) -> list[Copy]:
        """Return all that the workers hold."""
        engines = self.engines.values()
        return [
            one
            for engine in engines
            for held in (engine.partitions, engine.standbys.copies)
            for one in held.values()
        ]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        """Be the web server of a worker, for the others."""
        url = f"{request.url.scheme}://{request.url.netloc.decode()}"
        numbers = request.headers[PARTITIONS_HEADER]
        self.asked.append((url, numbers))
        if url in self.down:
            return self.down[url]()
        try:
            table, asked = read(request.url.raw_path.decode())
            body = await self.queries[url].for_another(numbers, table, asked)
            return httpx.Response(200, content=body)
        except ProblemError as exc:
            return httpx.Response(exc.status, json={"detail": exc.detail})

    async def ask(self, target: str, at: int = 0) -> Any:
        table, asked = read(target)
        queries = self.queries[self.urls[at]]
        return await (queries.table(table, asked, target) if table else queries.all(asked, target))


def read(target: str) -> tuple[str | None, Any]:
    path, _, text = target.partition("?")
    query = dict(parse_qsl(text))
    _, _, *names = path.split("/", 3)
    if not names:
        return None, about_tables(query)
    return names[0], about_key(unquote(names[1]), query) if len(names) > 1 else about_table(query)


def make(name: str, keyed: bool) -> Group:
    table = TABLES[name]()
    events: list[list[Event]] = [[] for _ in range(4)]
    for n in range(200):
        key = KEYS[n * 7 % 20]
        events[partition_for(key.encode(), 4) if keyed else n // 20 % 4].append(Event(key, n / 2, n % 5 + 1))
    rows = [asyncio.run(filled(name, table, part)) for part in events]
    return Group({"t": table}, {"t": rows}, {"t"} if keyed else set())


@pytest.fixture(scope="module", params=["windows", "sessions", "values"])
def made(request: pytest.FixtureRequest) -> Group:
    return make(request.param, keyed=False)


@pytest.fixture(params=[True, False], ids=["on the event loop", "in a thread"])
def group(made: Group, request: pytest.FixtureRequest) -> Iterator[Group]:
    made.asked.clear()
    for one in made.copies():
        one.few = request.param
    yield made
    made.down.clear()
    for engine in made.engines.values():
        engine.lease.renew(now(), 60)
    for one in made.copies():
        one.closed, one.at_work, one.staleness = False, True, 0.0


@pytest.fixture(scope="module")
def keyed() -> Group:
    return make("values", keyed=True)


def without_fresh(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "partitions"}


@pytest.mark.parametrize("target", ["/tables/t/k3", "/tables/t", "/tables/t?prefix=k1&limit=3", "/tables"])
async def test_each_worker_gives_the_same_answer(group: Group, target: str) -> None:
    answers = [await group.ask(target, at) for at in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["partial"] is False
    # Each asked the two others once, for what they own.
    assert sorted(group.asked) == sorted(
        [(group.urls[n], numbers) for n, numbers in enumerate(["0,1", "2", "3"]) for _ in range(2)]
    )


async def test_a_topic_that_no_agent_reads_is_not_missing(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in group.engines.values():
        unread = SimpleNamespace(topic="unread", tables=[], keyed=set())
        monkeypatch.setitem(engine.sources, "unread", unread)
    for at in range(3):
        answer = await group.ask("/tables", at)
        assert (answer["partial"], answer.get("missing")) == (False, None)
        assert [part["partition"] for part in answer["tables"][0]["partitions"]] == [0, 1, 2, 3]


async def test_an_answer_says_where_it_is_from(group: Group) -> None:
    parts = (await group.ask("/tables/t/k3", 2))["partitions"]
    assert [part["partition"] for part in parts] == [0, 1, 2, 3]
    assert [part["worker"] for part in parts] == [group.urls[n] for n in (0, 0, 1, 2)]
    assert {(part["role"], part["staleness"]) for part in parts} == {("owner", 0.0)}
    assert [part["offset"] for part in parts] == [60, 60, 40, 40]


async def test_a_key_of_the_topic_is_asked_for_in_its_partition_only(keyed: Group) -> None:
    for key in KEYS:
        keyed.asked.clear()
        answer = await keyed.ask(f"/tables/t/{key}")
        number = partition_for(key.encode(), 4)
        assert [part["partition"] for part in answer["partitions"]] == [number]
        assert answer["value"]["events"] == 10
        assert keyed.asked == ([] if number < 2 else [(keyed.urls[number - 1], str(number))])
    with pytest.raises(ProblemError) as caught:
        await keyed.ask("/tables/t/nobody")
    assert caught.value.status == 404


async def test_local_is_what_the_worker_holds(group: Group) -> None:
    answer = await group.ask("/tables/t/k3?local=true", 1)
    assert [part["partition"] for part in answer["partitions"]] == [2]
    assert (answer["partial"], group.asked) == (False, [])


def hang() -> httpx.Response:
    raise httpx.ReadTimeout("late")


def refuse() -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("down", "why"),
    [
        (hang, "did not answer within 3 s"),
        (refuse, "cannot be reached"),
        (lambda: httpx.Response(503, json={"detail": "It moves."}), "answered 503: It moves."),
        (lambda: httpx.Response(200, text="<html>"), "no answer that can be read"),
        (lambda: httpx.Response(200, content=msgspec.msgpack.encode([])), "does not hold it"),
    ],
)
async def test_what_is_missing_is_said(group: Group, down: Any, why: str) -> None:
    group.down[group.urls[1]] = down
    answer = await group.ask("/tables/t?limit=5")
    assert answer["partial"] is True
    assert [part["partition"] for part in answer["partitions"]] == [0, 1, 3]
    ((missing),) = answer["missing"]
    assert missing["partition"] == 2
    assert why in missing["why"]


async def test_a_partition_that_is_missing_may_have_the_key(keyed: Group) -> None:
    keyed.down[keyed.urls[1]] = refuse
    key = next(key for key in KEYS if partition_for(key.encode(), 4) == 2)
    with pytest.raises(ProblemError) as caught:
        await keyed.ask(f"/tables/t/{key}")
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
    # The copy is at the third worker, which is asked; and is here, if that is asked.
    for at, asked in ((0, [(keyed.urls[1], "2"), (keyed.urls[2], "2")]), (2, [(keyed.urls[1], "2")])):
        keyed.asked.clear()
        answer = await keyed.ask(f"/tables/t/{key}?max_staleness=2", at)
        assert answer["value"]["events"] == 10
        assert [(part["worker"], part["role"]) for part in answer["partitions"]] == [
            (keyed.urls[2], "standby")
        ]
        assert keyed.asked == asked
    keyed.engines[keyed.urls[2]].standbys.copies[TP(TOPIC, 2)].staleness = 2.5
    for at in (0, 2):
        with pytest.raises(ProblemError) as caught:
            await keyed.ask(f"/tables/t/{key}?max_staleness=2", at)
        assert caught.value.status == 503
    answer = await keyed.ask(f"/tables/t/{key}?max_staleness=3")
    assert answer["partitions"][0]["staleness"] == 2.5
    keyed.down.clear()


async def test_a_worker_that_may_have_lost_its_partitions_says_nothing(group: Group) -> None:
    lease = group.engines[group.urls[0]].lease
    lease._until = -math.inf
    answer = await group.ask("/tables/t?limit=5", 1)
    assert [part["partition"] for part in answer["partitions"]] == [2, 3]
    assert [one["partition"] for one in answer["missing"]] == [0, 1]
    with pytest.raises(ProblemError) as caught:
        await group.ask("/tables/t?local=true")
    assert caught.value.status == 503
    # It has a copy all the same, as old as its last heartbeat.
    lease._sent = now() - 5
    answer = await group.ask("/tables/t?local=true&max_staleness=6")
    assert [(part["role"], round(part["staleness"])) for part in answer["partitions"]] == [("standby", 5)] * 2
    answer = await group.ask("/tables/t?max_staleness=6", 1)
    assert [part["worker"] for part in answer["partitions"]] == [group.urls[n] for n in (0, 0, 1, 2)]
    with pytest.raises(ProblemError):
        await group.ask("/tables/t?local=true&max_staleness=4")


async def test_a_lease_that_ends_while_rows_are_read(group: Group) -> None:
    engine = group.engines[group.urls[0]]
    rows = engine.partitions[TP(TOPIC, 0)]

    def late() -> Any:
        engine.lease._until = -math.inf
        return rows.rows

    rows.cursor.owned_state = SimpleNamespace(snapshot=late, peek=late if rows.few else rows.peek)
    try:
        with pytest.raises(ProblemError) as caught:
            await group.ask("/tables/t?local=true")
    finally:
        rows.cursor.owned_state = rows
    assert caught.value.status == 503


async def test_a_partition_that_is_closed_meanwhile(group: Group) -> None:
    group.engines[group.urls[0]].partitions[TP(TOPIC, 0)].closed = True
    with pytest.raises(ProblemError) as caught:
        await group.ask("/tables/t")
    assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})


async def test_before_the_group_has_told_anything(group: Group) -> None:
    engine = group.engines[group.urls[0]]
    peers, engine.peers = engine.peers, Peers()
    partitions, engine.partitions = engine.partitions, {}
    try:
        with pytest.raises(ProblemError) as caught:
            await group.ask("/tables/t")
        assert (caught.value.status, group.asked) == (503, [])
    finally:
        engine.peers, engine.partitions = peers, partitions


async def test_a_worker_that_hangs_has_so_much_time(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "WORKER_SECONDS", 1.0)  # far from the 60, and time for the others
    answer = group.answer

    async def hang(request: httpx.Request) -> httpx.Response:
        if "w1" in str(request.url):
            await asyncio.sleep(60)
        return await answer(request)

    engine = group.engines[group.urls[0]]
    client = httpx.AsyncClient(transport=httpx.MockTransport(hang))
    queries = Queries(engine, ScatterGather(engine, lambda: client))
    table, asked = read("/tables/t")
    found = await queries.table(table or "", asked, "/tables/t")
    assert [one["partition"] for one in found["missing"]] == [2]
