"""The live page: its files, and the views that it asks."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import pytest_asyncio
from aiohttp import web

from millstream.kafka import reading
from millstream.kafka.group import Peer, Peers
from millstream.tables.aggregates import Count
from millstream.tables.windows import WindowTable
from millstream.web import dead_letters
from millstream.web.dead_letters import HEX_BYTES, TEXT_BYTES, raw
from millstream.web.overview import overview, worker
from millstream.web.panels import Bars, Line, Panel, Rows
from millstream.web.scatter_gather import ScatterGather
from millstream.web.static_files import FILES, FOLDER
from tests.framework.views import Views, event, serve

OTHERS = ["http://w1:1", "http://w2:1"]
SCRIPTS = sorted(FOLDER.glob("*.js"))


@pytest_asyncio.fixture
async def views() -> AsyncIterator[Views]:
    made = Views()
    async with serve(made) as server:
        made.server = server
        async with aiohttp.ClientSession(server.make_url("/")) as made.client:
            yield made


async def get(views: Any, path: str, status: int = 200, **headers: str) -> Any:
    async with views.client.get(path, headers=headers) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json(content_type=None)


async def test_browsers_get_the_page_and_programs_the_index(views: Any) -> None:
    assert "/overview" in (await get(views, "/"))["views"]
    async with views.client.get("/", headers={"Accept": "text/html,*/*"}) as answer:
        assert answer.content_type == "text/html"
        assert answer.headers["Vary"] == "Accept"
        text = await answer.text()
    for path in re.findall(r'(?:src|href)="(/[^"]*)"', text):
        async with views.client.get(path) as answer:
            assert answer.status == 200, path
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "unsafe" not in policy
            tag = answer.headers["ETag"]
        async with views.client.get(path, headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304


async def test_an_answer_is_as_of_no_time_before_the_first_event(views: Any) -> None:
    for path in ("/tables/page-views", "/tables/page-views?top=3"):
        answer = await get(views, path)
        assert answer["as_of"] is None
        assert [part["as_of"] for part in answer["partitions"]] == [None] * 4
    await views.send(event(1, page="/a", timestamp=1_700_000_000))
    assert (await get(views, "/tables/page-views"))["as_of"] == "2023-11-14T22:13:20Z"


async def test_each_module_that_a_module_imports_is_served(views: Any) -> None:
    told, served = ["page.js"], set()
    while told:
        name = told.pop()
        served.add(name)
        async with views.client.get(f"/page/{name}") as answer:
            assert (answer.status, answer.content_type) == (200, "text/javascript"), name
            text = await answer.text()
        for line in re.findall(r"^import .*|\bimport\(.*", text, re.MULTILINE):
            found = re.fullmatch(r'import \{ [^}]+ \} from "\./([\w-]+\.js)";', line)
            assert found, f"{name}: {line}"
            if found[1] not in served:
                told.append(found[1])
    assert served == {script.name for script in SCRIPTS}


async def test_the_page_has_no_other_files(views: Any) -> None:
    for name in ("views.py", "..%2Fviews.py", "page", ""):
        await get(views, f"/page/{name}", 404)


def test_the_page_has_no_inline_script_and_loads_nothing_from_elsewhere() -> None:
    text = (FOLDER / "page.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|\son\w+=|style=", text) == []
    for file in (FOLDER / "page.html", FOLDER / "page.css", *SCRIPTS):
        found = re.findall(r"https?://[^\s\"'`)]+", file.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, file.name
    script = "".join(file.read_text() for file in SCRIPTS)
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script) == []
    ids = set(re.findall(r'id="([\w-]+)"', text))
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= ids


def test_the_charts_are_as_they_were_published() -> None:
    told = (Path(__file__).resolve().parents[3] / "docs/adr/0011-charts-are-in-the-repository.md").read_text()
    for file in sorted((FOLDER / "uplot").iterdir()):
        assert f"{sha256(file.read_bytes()).hexdigest()}  {file.name}" in told


def test_all_files_are_package_data() -> None:
    told = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text()
    for name, _ in FILES.values():
        if not Path(name).is_absolute():  # else of a wheel
            assert f'"web/page/{"".join(name.rpartition("/")[:2])}*"' in told


async def test_the_overview_counts_what_has_happened(views: Any) -> None:
    await views.send(*[event(n) for n in range(10)], event(3), b"{")
    found = await get(views, "/overview")
    assert (found["partial"], found["missing"], len(found["workers"])) == (False, [], 1)
    (one,) = found["workers"]
    raw = one["topics"]["shop.raw"]
    assert raw["events"] == 11
    assert raw["duplicates"] == {"seen": 1}
    assert raw["dead"] == {"not-json": 1}
    assert raw["outputs"]["shop.clean"] == 10
    assert sum(raw["latency"]) == 11
    assert len(raw["latency"]) == len(found["latency_bounds"]) + 1
    partitions = {(p["topic"], p["partition"]): p for p in one["partitions"]}
    assert partitions["shop.raw", 0]["lag"] == partitions["shop.raw", 1]["lag"] == 0
    agents = {agent["agent"]: agent for agent in found["agents"]}
    assert agents["visits"]["tables"] == ["seen", "page-views", "sales", "users"]
    assert agents["visits"]["about"].startswith("Pass each visit on once")
    assert {"name": "page-totals", "source": "shop.page-counts"}.items() <= next(
        table.items() for table in found["tables"] if table["name"] == "page-totals"
    )
    assert await get(views, "/overview?local=true") == one | {"time": pytest.approx(one["time"], abs=5)}
    await get(views, "/overview?local=yes", 400)
    await get(views, "/overview?all=true", 400)


async def test_a_partition_that_is_restored_is_said(views: Any) -> None:
    partition = next(iter(views.engine.partitions.values()))
    partition.cursor.committed = None
    partition.state.progress = SimpleNamespace(next=40, end=100, seconds_left=2.0, records=40, rate=30.0)
    found = worker(views.engine, "0", 100)
    (told,) = [p["restore"] for p in found["partitions"] if "restore" in p]
    assert told == {"left": 60, "seconds_left": 2.0}
    assert "restoring" in {reason["code"] for reason in found["reasons"]}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (httpx.Response(503, json={"detail": "Not now."}), "http://w2:1 answered 503: Not now."),
        (httpx.Response(200, text="<html>"), "http://w2:1 gave no answer that can be read"),
        (httpx.ConnectError("refused"), "http://w2:1 cannot be reached"),
    ],
)
async def test_workers_that_do_not_answer_are_missing(views: Any, answer: Any, why: str) -> None:
    def transport(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path == b"/overview?local=true"
        if request.url.host == "w2" and isinstance(answer, Exception):
            raise answer
        return answer if request.url.host == "w2" else httpx.Response(200, json={"worker": OTHERS[0]})

    views.engine.url = "http://w0:1"
    views.engine.peers = Peers([Peer(url) for url in [*OTHERS, views.engine.url, ""]])
    client = httpx.AsyncClient(transport=httpx.MockTransport(transport))
    views.gather = ScatterGather(views.engine, lambda: client)
    found = await overview(views, {"worker": views.engine.url})
    await views.gather.close()
    assert [one["worker"] for one in found["workers"]] == [views.engine.url, OTHERS[0]]
    assert found["partial"] is True
    ((missing),) = found["missing"]
    assert missing["worker"] == OTHERS[1]
    assert missing["why"].startswith(why)


async def test_each_panel_is_answered(views: Any) -> None:
    await views.send(*[event(n, action="buy", amount=2.0, country="FR") for n in range(5)], event(9))
    found = (await get(views, "/overview"))["panels"]
    assert {panel["title"] for panel in found} == {
        "Sales by country, last whole minute",
        "Top pages, last whole minute",
    }
    for panel in found:
        answer = await get(views, panel["path"])
        assert panel["by"] in answer["top"][0]


def test_panels_say_what_to_ask() -> None:
    table: Any = WindowTable("a table", size=timedelta(minutes=1), value=Count("n"))
    assert Bars("B", table, by="n", ago=timedelta(minutes=1), limit=3).shown() == {
        "title": "B",
        "draw": "bars",
        "table": "a table",
        "path": "/tables/a%20table?top=3&by=n",
        "by": "n",
        "ago": 60.0,
    }
    assert Rows("R", table, columns=("start", "n"), prefix="/x y").shown()["path"] == (
        "/tables/a%20table?prefix=%2Fx+y&limit=8"
    )
    assert Line("L", table, key="a/b", by="n").shown()["path"] == "/tables/a%20table/a%2Fb"
    with pytest.raises(TypeError, match="abstract"):
        Panel("P", table)  # type: ignore[abstract] # that is the case


def record(**fields: Any) -> Any:
    headers = [("origin", b"shop.raw/1/7"), ("code", b"not-json"), ("reason", b"it \xff ends early")]
    made = {"topic": "shop.dead-letters", "partition": 1, "offset": 3, "timestamp": 1_700_000_000_000}
    return SimpleNamespace(**made | {"key": b"u", "value": b"{\xff", "headers": headers} | fields)


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reading finds, or fails with."""
    held: dict[str, Any] = {
        "records": [record(), record(offset=4, timestamp=1_700_000_001_000)],
        "fail": None,
        "hang": False,
        "at_once": 0,
        "most": 0,
    }

    async def records(address: str, topic: str, *, last: int) -> AsyncIterator[Any]:
        if held["fail"]:
            raise held["fail"]
        held["at_once"] += 1
        held["most"] = max(held["most"], held["at_once"])
        try:
            if held["hang"]:
                await asyncio.Event().wait()
        finally:
            held["at_once"] -= 1
        for one in held["records"][-last:]:
            if one.topic == topic:
                yield one

    async def record_at(address: str, topic: str, partition: int, offset: int) -> Any:
        found = [r for r in held["records"] if (r.topic, r.partition, r.offset) == (topic, partition, offset)]
        return found[0] if found else None

    monkeypatch.setattr(dead_letters, "records", records)
    monkeypatch.setattr(dead_letters, "record_at", record_at)
    return held


async def test_dead_letters_are_listed_and_shown(views: Any, kafka: dict[str, Any]) -> None:
    found = (await get(views, "/dead-letters"))["dead_letters"]
    assert [one["offset"] for one in found] == [4, 3]
    assert found[1] == {
        "topic": "shop.dead-letters",
        "partition": 1,
        "offset": 3,
        "time": 1_700_000_000.0,
        "origin": "shop.raw/1/7",
        "code": "not-json",
        "reason": "it � ends early",
        "bytes": 2,
    }
    assert len((await get(views, "/dead-letters?topic=shop.dead-letters&limit=1"))["dead_letters"]) == 1
    one = await get(views, "/dead-letters/shop.dead-letters/1/3")
    assert one["value"] == {"bytes": 2, "text": None, "hex": "7bff"}
    assert one["key"] == {"bytes": 1, "text": "u", "hex": "75"}
    assert one["headers"][2] == {"name": "reason", "value": "it \\xff ends early"}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dead-letters?limit=0", 400),
        ("/dead-letters?limit=51", 400),
        ("/dead-letters?limit=x", 400),
        ("/dead-letters?of=x", 400),
        ("/dead-letters?topic=shop.raw", 404),
        ("/dead-letters/shop.raw/1/3", 404),
        ("/dead-letters/shop.dead-letters/1/9", 404),
        ("/dead-letters/shop.dead-letters/1/-3", 404),
        ("/dead-letters/shop.dead-letters/x/3", 404),
    ],
)
async def test_other_dead_letters_are_not(views: Any, kafka: dict[str, Any], path: str, status: int) -> None:
    assert (await get(views, path, status))["status"] == status


async def test_a_partition_that_there_is_not_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer of nothing ended in a CancelledError, and the connection in no answer."""

    async def count(_bootstrap: str, _topic: str) -> int:
        return 4

    monkeypatch.setattr(reading, "partition_count", count)
    monkeypatch.setattr(reading, "AIOKafkaConsumer", None)
    assert await reading.record_at("k:1", "t", 4, 0) is None


async def test_dead_letters_without_kafka_are_503(
    views: Any, kafka: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka["fail"] = dead_letters.KafkaError("no broker")
    assert "no broker" in (await get(views, "/dead-letters", 503))["detail"]
    kafka["fail"] = None
    monkeypatch.setattr(dead_letters, "READ_SECONDS", 0.05)
    kafka["hang"] = True
    for answer in await asyncio.gather(*(get(views, "/dead-letters", 503) for _ in range(2))):
        assert "did not answer" in answer["detail"]
    assert kafka["most"] == 1  # a consumer at a time


def test_bytes_are_cut() -> None:
    assert raw(None) is None
    many = raw(b"a" * (TEXT_BYTES + 5))
    assert many is not None
    assert (len(many["text"]), len(many["hex"]), many["bytes"]) == (TEXT_BYTES, 2 * HEX_BYTES, TEXT_BYTES + 5)
    through = raw(b"a" * (TEXT_BYTES - 1) + "ä".encode() + b"b")
    assert through is not None
    assert through["text"] == "a" * (TEXT_BYTES - 1)
    short = raw(b"ab\xc3")
    assert short is not None
    assert short["text"] is None


async def test_a_page_of_guarded_workers_is_open_and_its_data_are_not() -> None:
    """As the page is written: a stand-in for the guard, which is another room's."""

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/page/") or request.headers.get("Authorization") == "Bearer t":
            return await handler(request)  # type: ignore[no-any-return] # aiohttp's handler
        return web.Response(status=401)

    made: Any = Views()
    async with serve(made, guard) as server, aiohttp.ClientSession(server.make_url("/")) as made.client:
        async with made.client.get("/page/page.js") as answer:
            assert answer.status == 200
        async with made.client.get("/overview") as answer:
            assert answer.status == 401
        assert (await get(made, "/overview", Authorization="Bearer t"))["workers"]


async def test_the_answers_are_json_that_browsers_read(views: Any) -> None:
    async with views.client.get("/overview") as answer:
        json.loads(await answer.text(), parse_constant=pytest.fail)
