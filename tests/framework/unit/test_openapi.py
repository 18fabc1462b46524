"""The description of the views: that it is right, whole, and what the views do."""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jsonschema
import pytest
import pytest_asyncio
from aiohttp.test_utils import make_mocked_request
from openapi_spec_validator import validate

from millstream.settings import Settings
from millstream.state.readers import Committed
from millstream.tables.queries import ByKey, Keys, Top
from millstream.web import dead_letters, request, schemas
from millstream.web.auth import OPEN
from millstream.web.openapi import document
from millstream.web.parameters import Parameter, choice, duration, moment, path_text, text, truth, whole
from millstream.web.problems import ProblemError
from millstream.web.static_files import FOLDER
from tests.framework.apps.shop import app
from tests.framework.unit.test_queries import TABLES, Event, partitions
from tests.framework.views import Views, event, serve

GIVEN = {"table": "sales", "key": "GB", "name": "page.css", "topic": "shop.dead-letters"}


@pytest_asyncio.fixture
async def views() -> AsyncIterator[Views]:
    made: Any = Views()
    async with serve(made) as made.server, aiohttp.ClientSession(made.server.make_url("/")) as made.client:
        yield made


def describe(conf: Settings) -> dict[str, Any]:
    return document(app.web.views, app.operations, conf, schemas.types_of(app.queries.tables))


@pytest.fixture
def described() -> dict[str, Any]:
    return describe(Settings())


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(p, method, one) for p, found in described["paths"].items() for method, one in found.items()]


def filled(path: str) -> str:
    return path.format_map({**GIVEN, "partition": 0, "offset": 0})


async def get(views: Any, path: str) -> tuple[int, Any]:
    async with views.client.get(path) as answer:
        return answer.status, await answer.json(content_type=None)


def test_it_is_openapi(described: dict[str, Any]) -> None:
    validate(described)
    ids = [one["operationId"] for _, _, one in operations(described)]
    assert len(ids) == len(set(ids))
    assert {"query_table-sales", "list_keys-seen", "health", "show_overview"} <= set(ids)
    assert all(one["summary"] for _, _, one in operations(described))


async def test_it_has_all_routes_and_no_others(views: Any, described: dict[str, Any]) -> None:
    router = views.server.app.router
    served = {(route.method.lower(), route.resource.canonical) for route in router.routes()}
    told = set()
    for path, method, _ in operations(described):
        match = await router.resolve(make_mocked_request(method.upper(), filled(path)))
        assert match.http_exception is None, path
        told.add((method, match.route.resource.canonical))
    assert told == {(method, path) for method, path in served if method != "head"}
    assert {path for method, path in served if method == "head"} == {path for _, path in told}


async def test_the_served_one_is_the_same(views: Any) -> None:
    status, served = await get(views, "/openapi.json")
    assert status == 200
    validate(served)
    assert set(served["paths"]) >= {"/tables/sales/{key}", "/tables/seen", "/stream/{table}"}
    assert {"/openapi.json", "/docs"} <= set((await get(views, "/"))[1]["views"])


def test_it_says_what_the_guard_demands(described: dict[str, Any]) -> None:
    for path, _, one in operations(described):
        statuses = set(one["responses"])
        assert (one["security"] == []) == (path in OPEN)
        assert ("401" in statuses) == ("403" in statuses) == ("429" in statuses) == (path not in OPEN)
    assert described["paths"]["/tables"]["get"]["security"] == [{"token": ["read"]}, {}]
    for conf, wanted in (
        ({"tokens": "t"}, [{"token": ["read"]}]),
        ({"tls_cert": "c", "tls_key": "k", "tls_ca": "a"}, [{"certificate": []}]),
        (
            {"tokens": "t", "tls_cert": "c", "tls_key": "k", "tls_ca": "a"},
            [{"token": ["read"]}, {"certificate": []}],
        ),
    ):
        guarded = describe(Settings(**conf))
        assert guarded["paths"]["/tables"]["get"]["security"] == wanted
        validate(guarded)


def test_a_view_of_which_nothing_is_told_is_there_too() -> None:
    (view,) = [view for path, view in app.web.views.items() if path == "/health"]
    found = document({"/new/{it:.+}": view}, app.operations, Settings())
    assert list(found["paths"]) == ["/new/{it}"]


WRONG = {
    "limit": ["0", "10001", "x", "-1", "", "٣", "1e3"],
    "top": ["0", "10001", "x", ""],
    "from": ["yesterday", "-1", "", "1e400", "10000-01-01", "99999999999999999999"],
    "to": ["yesterday"],
    "at": ["yesterday"],
    "local": ["yes", "TRUE", ""],
    "max_staleness": ["-1", "nan", "inf", "x", ""],
    "topic": ["shop.raw"],
    "prefix": [],
    "after": [],
    "by": [],
}


def test_its_page_has_no_inline_script_and_loads_nothing_from_elsewhere() -> None:
    for file in (FOLDER / "docs").iterdir():
        found = file.read_text()
        assert re.findall(r"<script(?![^>]*\bsrc=)|\son\w+=|style=|https?://|innerHTML|\beval\b", found) == []


async def test_each_parameter_is_checked(views: Any, described: dict[str, Any]) -> None:
    """None is told of that is not read, and none is read of which is not told."""
    for path, _, one in operations(described):
        told = [parameter for parameter in one["parameters"] if parameter["in"] == "query"]
        if not told:
            continue
        status, problem = await get(views, f"{filled(path)}?no=such")
        assert (status, problem["status"]) == (400, 400), path
        for parameter in told:
            name = parameter["name"]
            more = {"top": 1} if name in ("by", "at") else {}
            for wrong in WRONG[name]:
                status, problem = await get(views, f"{filled(path)}?{urlencode({name: wrong, **more})}")
                assert status == (404 if name == "topic" else 400), f"{path} {name}={wrong}"
                assert "There is no parameter" not in problem["detail"], path


@pytest.mark.parametrize(
    "one",
    [
        text("t", ""),
        path_text("p", ""),
        choice("c", "", ["a", "b"]),
        moment("m", ""),
        whole("w", "", most=10, default=3),
        whole("w", "", least=0, most=1 << 62, status=404),
        truth("b", ""),
        duration("d", ""),
        request.KEYS,
        dead_letters.LIMIT,
    ],
    ids=lambda one: one.name,
)
def test_what_a_parameter_says_is_what_it_reads(one: Parameter) -> None:
    texts = ["", "0", "1", "3", "10", "11", "50", "51", "-1", "a", "true", "x", "2026-01-31T12:00:00Z", "1.5"]
    for given in texts:
        try:
            one.read(given)
            reads = True
        except ProblemError:
            reads = False
        forms: list[Any] = [given]
        if given.lstrip("-").replace(".", "").isdigit():
            forms.append(float(given) if "." in given else int(given))
        if given in ("true", "false"):
            forms.append(given == "true")
        check = jsonschema.Draft202012Validator(
            one.schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        if one.name == "m":  # any ISO-8601, where the schema knows only that of RFC 3339
            assert not reads or given == "2026-01-31T12:00:00Z" or given[0].isdigit()
        elif one.name != "p":
            assert any(map(check.is_valid, forms)) == reads, given
    if "default" in one.schema:
        assert one.read(str(one.schema["default"]).lower()) == one.schema["default"]


def check(described: dict[str, Any], path: str, answer: Any, status: int = 200) -> None:
    response = described["paths"][path]["get"]["responses"][str(status)]
    schema = {**response["content"]["application/json"]["schema"], "components": described["components"]}
    jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(answer)


async def test_answers_are_as_described(views: Any, described: dict[str, Any]) -> None:
    await views.send(*[event(n, action="buy", amount=2.5, country="GB") for n in range(5)], event(7), b"{")
    for path in (
        "/",
        "/tables",
        "/live",
        "/ready",
        "/startup",
        "/overview",
        "/overview?local=true",
    ):
        status, answer = await get(views, path)
        check(described, path.partition("?")[0], answer, status)
    for path in (p for p in described["paths"] if p.startswith("/tables/")):
        for query in (
            "?limit=1",
            "?limit=9",
            *(["?top=3&by=views", "?top=3&by=amount"] if path[-1] != "}" else []),
        ):
            status, answer = await get(views, filled(path) + query)
            if status == 200:
                check(described, path, answer)
            else:
                assert set(answer) == {"title", "status", "detail"}
    _, answer = await get(views, "/tables/sales?top=3&by=amount")
    assert answer["top"] == [{"key": "GB", "purchases": 5, "amount": 12.5}]


@pytest.mark.parametrize("name", TABLES)
async def test_each_type_of_table_answers_as_described(name: str) -> None:
    table = TABLES[name]()
    events = [Event(key, n * 9.5, n + 1, n % 3) for n in range(12) for key in ("a", "/b")]
    readers: list[Committed] = await partitions(name, table, events)
    told = {operation.path: operation for operation in schemas.key_operations({"t": ("s", table)}, {})}
    told |= {operation.path: operation for operation in schemas.keys_operations({"t": ("s", table)})}
    around = {"table": "t", "as_of": None, "partial": False, "partitions": []}

    def fits(path: str, found: dict[str, Any] | None) -> None:
        assert found is not None
        jsonschema.Draft202012Validator(told[path].answer).validate({**around, **found})
        kinds = told[path].answer.get("anyOf", [told[path].answer])
        assert any(set(found) <= set(kind["properties"]) for kind in kinds)

    fits("/tables/t/{key}", ByKey("t/0/3" if name == "once" else "a").answer(table, readers))
    assert ("/tables/t" in told) == (name != "once")
    if name != "once":
        fits("/tables/t", Keys().answer(table, readers))
        fits("/tables/t", Keys(limit=1).answer(table, readers))
    if name in ("windows", "hopping", "totals"):
        fits("/tables/t", Top(by="views" if name == "totals" else "amount").answer(table, readers))


def test_streams_have_no_copies(described: dict[str, Any]) -> None:
    for path in ("/stream/{table}", "/stream/{table}/{key}"):
        one = described["paths"][path]["get"]
        assert "max_staleness" not in {parameter["name"] for parameter in one["parameters"]}
        assert list(one["responses"]["200"]["content"]) == ["text/event-stream"]
