"""Streams: what is sent, to whom, and when it ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from millstream.web import feeds, sse
from millstream.web.feeds import HEARTBEAT, MOST_BEHIND, MOST_READERS, Feed, Feeds, Reader
from millstream.web.problems import ProblemError
from tests.framework.views import Views, event, serve


def rows(as_of: str = "t0", **values: int) -> dict[str, Any]:
    keys = [{"key": key, "newest": {"n": value}} for key, value in sorted(values.items())]
    return {"table": "t", "keys": keys, "as_of": as_of, "partial": False, "partitions": []}


class Source:
    """What a question is answered with; `now` is an answer, or a problem."""

    def __init__(self, now: Any) -> None:
        self.now = now
        self.asked = 0

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.now, Exception):
            raise self.now
        return dict(self.now)


def reader() -> Reader:
    dropped: list[bool] = []
    made = Reader(lambda: dropped.append(True))
    made.dropped = dropped  # type: ignore[attr-defined] # for the test to see
    return made


def read(one: Reader) -> list[tuple[str, str | None, Any]]:
    """Return what a reader has got: event, id and data."""
    found = []
    while not one._events.empty():
        raw = one._events.get_nowait()
        fields = dict(line.split(": ", 1) for line in (raw or b"event: end").decode().split("\n") if line)
        found.append((fields["event"], fields.get("id"), json.loads(fields.get("data", "null"))))
    return found


async def test_first_the_answer_then_what_has_changed() -> None:
    source = Source(rows(a=1, b=1, c=1))
    feed, one = Feed(source), reader()
    await feed.step()
    feed.join(one, None)
    ((name, number, data),) = read(one)
    assert (name, data) == ("answer", rows(a=1, b=1, c=1))
    assert number == feed.id
    source.now = rows("t1", a=1, b=1, c=1)  # as of later, and the same
    await feed.step()
    assert read(one) == []
    source.now = rows("t2", a=1, b=2, d=1)
    await feed.step()
    ((name, after, data),) = read(one)
    assert name == "changed"
    assert after == feed.id != number
    assert [row["key"] for row in data["keys"]] == ["b", "d"]
    assert (data["gone"], data["as_of"]) == (["c"], "t2")
    source.now = rows(a=1, b=1, c=1)
    await feed.step()
    assert feed.id == number  # it names the answer, not the time


async def test_other_answers_are_sent_whole() -> None:
    source = Source({"table": "t", "key": "k", "total": 1, "as_of": "t0", "partial": False, "partitions": []})
    feed, one = Feed(source), reader()
    await feed.step()
    feed.join(one, None)
    source.now = source.now | {"total": 2, "as_of": "t1"}
    await feed.step()
    assert [(name, data["total"]) for name, _, data in read(one)] == [("answer", 1), ("answer", 2)]
    source.now = ProblemError(404, "no such key")
    await feed.step()
    assert [(name, data) for name, _, data in read(one)] == [("answer", None)]


async def test_whoever_has_the_answer_gets_nothing() -> None:
    feed = Feed(Source(rows(a=1)))
    await feed.step()
    elsewhere = Feed(Source(rows("later", a=1)))
    await elsewhere.step()
    known, unknown = reader(), reader()
    elsewhere.join(known, feed.id)
    elsewhere.join(unknown, "of long ago")
    assert read(known) == []
    assert [name for name, _, _ in read(unknown)] == ["answer"]


async def test_an_answer_in_part_is_not_sent() -> None:
    source = Source(rows(a=2))
    feed, one = Feed(source), reader()
    await feed.step()
    feed.join(one, None)
    part = rows(a=1) | {"partial": True, "missing": [{"partition": 1, "why": "w is gone"}]}
    for now in (part, part, ProblemError(503, "all are gone"), rows(a=2), part, rows(a=3)):
        source.now = now
        await feed.step()
    told = [(name, data.get("why"), number) for name, number, data in read(one)]
    assert [name for name, _, _ in told] == ["answer", "missing", "missing", "missing", "changed"]
    assert [why for _, why, _ in told] == [None, "w is gone", "all are gone", "w is gone", None]
    assert [number for name, _, number in told if name == "missing"] == [
        None
    ] * 3  # it is no id to go on from


async def test_slow_readers_are_dropped_and_others_are_not() -> None:
    source = Source(rows(a=0))
    feed, slow, quick = Feed(source), reader(), reader()
    await feed.step()
    feed.join(slow, None)
    feed.join(quick, None)
    for n in range(1, MOST_BEHIND + 2):
        source.now = rows(a=n)
        await feed.step()
        read(quick)
    assert feed.readers == {quick}
    assert (slow.dropped, quick.dropped) == ([True], [])  # type: ignore[attr-defined] # see above


async def test_readers_of_a_query_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "FEED_SECONDS", 0.01)
    over = False
    made, source = Feeds(lambda: over), Source(rows(a=1))
    readers = [reader() for _ in range(MOST_READERS)]
    joined = await asyncio.gather(*(made.join("q", source, one, None) for one in readers))
    assert source.asked == 1
    assert len(set(map(id, joined))) == 1
    with pytest.raises(ProblemError) as caught:
        await made.join("q", source, reader(), None)
    assert caught.value.status == 503
    joined[0].readers.discard(readers[0])
    source.now = rows(a=2)
    await asyncio.sleep(0.1)
    assert [name for name, _, _ in read(readers[1])] == ["answer", "changed"]
    source.now = ProblemError(400, "not any more")
    await asyncio.sleep(0.05)
    over = True
    await asyncio.sleep(0.1)
    assert read(readers[1]) == [("end", None, None)]
    assert (made._feeds, made._tasks) == ({}, set())


async def test_a_bad_query_is_refused_and_leaves_nothing() -> None:
    made = Feeds(lambda: False)
    with pytest.raises(ProblemError):
        await made.join("q", Source(ProblemError(400, "bad")), reader(), None)
    assert made._feeds == {}


async def test_silence_is_filled_with_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "HEARTBEAT_SECONDS", 0.01)
    assert await reader().next() == HEARTBEAT


@pytest_asyncio.fixture
async def views(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(feeds, "FEED_SECONDS", 0.02)
    made: Any = Views()

    def make_feeds(ended: Callable[[], bool]) -> Feeds:
        made.feeds = Feeds(ended)
        return made.feeds

    monkeypatch.setattr(sse, "Feeds", make_feeds)
    async with serve(made) as server, aiohttp.ClientSession(server.make_url("/")) as made.client:
        yield made


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield the events of an answer, as a browser does."""
    fields: dict[str, str] = {}
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.strip()
        elif "event" in fields:
            yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}


async def test_over_http(views: Any) -> None:
    await views.send(event(1, page="/a"))
    async with asyncio.timeout(20), views.client.get("/stream/page-totals?limit=5") as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        told = events(answer)
        name, first, data = await anext(told)
        assert (name, [row["key"] for row in data["keys"]]) == ("answer", ["/a"])
        await views.send(event(2, page="/b"))
        name, second, data = await anext(told)
        assert (name, [row["key"] for row in data["keys"]]) == ("changed", ["/b"])
        again = {"Last-Event-ID": second}
        async with views.client.get("/stream/page-totals?limit=5", headers=again) as resumed:
            more = events(resumed)
            await views.send(event(3, page="/c"))
            assert (await anext(more))[2]["keys"][0]["key"] == "/c"
        async with views.client.get("/stream/page-totals?limit=5", headers={"Last-Event-ID": first}) as late:
            name, _, data = await anext(events(late))
            assert (name, len(data["keys"])) == ("answer", 3)


async def test_a_key_over_http_that_comes_later(views: Any) -> None:
    async with asyncio.timeout(20), views.client.get("/stream/page-totals//later") as answer:
        told = events(answer)
        assert (await anext(told))[2]["windows"] == []
        await views.send(event(1, page="/later"))
        assert (await anext(told))[2]["total"] == {"views": 1}
        views.engine.stopping = True  # the worker ends: so does the stream, and nothing waits for it
        with pytest.raises(StopAsyncIteration):
            await anext(told)
    assert views.feeds._feeds == {}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stream/none", 404),
        ("/stream/seen?top=3", 400),
        ("/stream/sales?limit=x", 400),
        ("/stream/sales?max_staleness=3", 400),
        ("/stream/sales/GB?color=red", 400),
    ],
)
async def test_bad_queries_over_http(views: Any, path: str, status: int) -> None:
    async with views.client.get(path) as answer:
        assert answer.status == status
        assert (await answer.json(content_type=None))["status"] == status
