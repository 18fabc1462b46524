"""Authentication of the views: who may ask, how often, how much, and what every answer says to browsers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from aiohttp import web
from faust.types import TP

from millstream.settings import Settings
from millstream.web.auth import MAX_BODY, MAX_CLIENTS, Limiter, _address
from millstream.web.scatter_gather import ScatterGather
from millstream.web.tokens import GIVEN, digest
from tests.framework.guarded import Answer, Served, answers, request

READER, OPERATOR, GONE, BROKEN = (f"{name}-{'x' * 40}" for name in ("rd", "op", "gone", "broken"))
PAGE = "https://page.example"
PREFLIGHT = (b"Access-Control-Request-Method: GET", b"Access-Control-Request-Headers: authorization")


def line(name: str, scopes: str, token: str) -> str:
    return f"{name} {scopes} {digest(token)}\n"


READER_LINE = line("reader", "read", READER)
TOKENS = f"# who asks\n\n{READER_LINE}{line('operator', 'operate', OPERATOR)}"


def put(file: Path, content: str | None) -> None:
    file.unlink() if content is None else file.write_text(content)


Start = Callable[..., Awaitable[Served]]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(TOKENS + line("gone", "read", GONE))
    return file


@pytest.fixture
async def start(tokens: Path) -> AsyncIterator[Start]:
    started = []

    async def begin(**conf: Any) -> Served:
        server = Served(Settings(**{"tokens": tokens} | conf))
        started.append(server)
        await server.start_server()
        return server

    yield begin
    for server in started:
        await server.close()


def page(origin: str) -> bytes:
    return f"Origin: {origin}".encode()


def bearer(value: bytes) -> bytes:
    return b"Authorization: Bearer " + value


# By what docs/security.md calls them.
REQUESTS = {
    "a known token": request(token=READER),
    "`bearer` in small letters": request("/tables", None, f"authorization: bearer {READER}".encode()),
    "no token": request(),
    "a token that is not in the file": request(token="unknown"),
    "a token with one letter changed": request(token=READER[:-1] + "y"),
    "the hash of a token": request(token=digest(READER)),
    "a known token in the URL": request(f"/tables?access_token={READER}&token={READER}"),
    "`Authorization` without a scheme": request("/tables", None, f"Authorization: {READER}".encode()),
    "`Authorization` with another scheme": request(
        "/tables", None, f"Authorization: Basic {READER}".encode()
    ),
    "`Authorization` without a token": request("/tables", None, b"Authorization: Bearer"),
    "`Authorization` twice": request("/tables", READER, f"Authorization: Bearer {READER}".encode()),
    "`Authorization` with bytes that are no UTF-8": request("/tables", None, bearer(b"\xff\xfe\x80")),
    "`Authorization` with a control character": request("/tables", None, bearer(b"a\x00b")),
    "`Authorization` of 8,000 bytes": request("/tables", None, bearer(b"x" * 8000)),
    "`Authorization` of 9,000 bytes": request("/tables", None, bearer(b"x" * 9000)),
    "a URL of 9,000 bytes": request("/" + "x" * 9000, READER),
    "another header of 9,000 bytes": request("/tables", READER, b"X-Long: " + b"x" * 9000),
    "200 headers": request("/tables", READER, *[b"X-%d: 1" % number for number in range(200)]),
    "`GET` with scope `operate` only": request(token=OPERATOR),
    "`POST` with scope `read` only": request(token=READER, method="POST"),
    "`POST` with scope `operate`": request(token=OPERATOR, method="POST"),
    "`POST` of 65,536 bytes": request(token=OPERATOR, method="POST", body=b"x" * 65_536),
    "`POST` of 65,537 bytes": request(token=OPERATOR, method="POST", body=b"x" * 65_537),
    "`POST` of 65,537 bytes without a token": request(method="POST", body=b"x" * 65_537),
    "a body of unknown length": request("/tables", READER, b"Transfer-Encoding: chunked")
    + b"1\r\nx\r\n0\r\n\r\n",
    "a `Content-Length` that is no number": request("/tables", READER, b"Content-Length: x"),
    "`Content-Length` and chunks": request(
        "/tables", READER, b"Content-Length: 1", b"Transfer-Encoding: chunked"
    ),
    "an `Expect` that cannot be met": request("/tables", READER, b"Expect: miracles"),
    "a method that there is not": request(token=READER, method="BREW"),
    "a method that is not allowed": request(token=OPERATOR, method="DELETE"),
    "a path that there is not": request("/none", READER),
    "a path that there is not, without a token": request("/none"),
    "a path with `%00`": request("/tables%00", READER),
    "a path out of an open one, without a token": request("/live/../tables"),
    "no HTTP": b"hello\r\n\r\n",
    "TLS where there is none": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a view that fails": request(f"/fails?token={READER}", READER),
    "`/live` without a token": request("/live"),
    "`/ready` without a token": request("/ready"),
    "`HEAD /live` without a token": request("/live", method="HEAD"),
    "`POST /live` without a token": request("/live", method="POST"),
    "`//live` without a token": request("//live"),
    "a preflight of a known page": request("/tables", None, page(PAGE), *PREFLIGHT, method="OPTIONS"),
    "a preflight of another page": request(
        "/tables", None, page("https://evil.example"), *PREFLIGHT, method="OPTIONS"
    ),
    "`OPTIONS` of a known page that is no preflight": request("/tables", None, page(PAGE), method="OPTIONS"),
    "`OPTIONS` without a page": request(method="OPTIONS"),
}
# What is in the file when these are asked; None: it is not there.
FILES: dict[str, tuple[str | None, bytes]] = {
    "a token whose line was deleted": (TOKENS, request(token=GONE)),
    "a token of a line that is broken": (f"x {TOKENS}broken read,{digest(BROKEN)}", request(token=BROKEN)),
    "a known token, with a line that is broken above it": ("x\n" + TOKENS, request(token=READER)),
    "a known token, with a file that was removed": (None, request(token=READER)),
    "no token, with a file that was removed": (None, request()),
    "`/ready` with a file that was removed": (None, request("/ready")),
}
# What was asked just before these, where a client may ask once in ten seconds.
BEFORE = {
    "`/ready` too often": (request("/ready"), request("/ready")),
    "too often, with a token": (request(token=READER), request(token=READER)),
    "too often, without a token": (request(token="unknown"), request()),
    "a known token, where somebody without one asks too often": (request(), request(token=READER)),
    "a preflight of a known page, too often": (
        request("/tables", None, page(PAGE), *PREFLIGHT, method="OPTIONS"),
        request("/tables", None, page(PAGE), *PREFLIGHT, method="OPTIONS"),
    ),
}


@pytest.mark.parametrize(("name", "promised"), answers("request").items())
async def test_answers_are_as_promised(
    start: Start, tokens: Path, name: str, promised: str, caplog: pytest.LogCaptureFixture
) -> None:
    if name in BEFORE:
        server = await start(cors_origins=PAGE, rate_limit=0.1)
        before, raw = BEFORE[name]
        await server.send(before)
    else:
        server = await start(cors_origins=PAGE)
        content, raw = FILES[name] if name in FILES else (TOKENS, REQUESTS[name])
        put(tokens, content)
    answer = await server.send(raw)
    assert answer.status == int(promised)
    answer.assert_careful()
    if answer.status >= 400 and answer.status != 417:
        assert len(answer.problem["detail"]) > 20
    challenge = answer.headers.get("WWW-Authenticate", "").partition(" ")[0]
    assert challenge == ("Bearer" if answer.status in (401, 403) else "")
    assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))
    for secret in (READER, OPERATOR, GONE, BROKEN, "xxxxxxxx"):
        assert secret not in caplog.text + str(answer)
    assert len(caplog.records) == (answer.status in (500, 503) or "broken" in name)


def test_all_requests_are_promised() -> None:
    assert sorted(answers("request")) == sorted([*REQUESTS, *FILES, *BEFORE])


async def test_without_settings_anybody_may_ask(start: Start) -> None:
    server = await start(tokens=None)
    assert (await server.send(request())).status == 200
    assert (await server.send(request("/tables", None, page(PAGE)))).headers.keys() & {
        "Access-Control-Allow-Origin",
        "Vary",
    } == set()
    assert (await server.send(request(method="POST", body=b"x" * (MAX_BODY + 1)))).status == 413


async def test_what_is_too_large_is_told(start: Start) -> None:
    server = await start()
    for name, said in (("a URL of 9,000 bytes", "8190 bytes"), ("200 headers", "128 headers")):
        assert said in (await server.send(REQUESTS[name])).problem["detail"]


async def test_what_is_wrong_with_a_token(start: Start) -> None:
    server = await start()

    async def challenge(raw: bytes) -> str:
        return (await server.send(raw)).headers["WWW-Authenticate"]

    assert await challenge(request()) == 'Bearer realm="millstream"'
    assert await challenge(request(token="x")) == 'Bearer realm="millstream", error="invalid_token"'
    assert await challenge(request(token=READER, method="POST")) == (
        'Bearer realm="millstream", error="insufficient_scope", scope="operate"'
    )


async def test_each_client_has_its_own_rate(start: Start) -> None:
    server = await start(rate_limit=2)

    async def status(raw: bytes) -> int:
        return (await server.send(raw)).status

    asked = [await status(request(token=READER)) for _ in range(8)]
    assert asked[:4] == [200] * 4
    assert asked[-1] == 429
    assert await status(request(token=OPERATOR)) == 403
    assert [await status(request(token="x")) for _ in range(8)][-1] == 429
    assert await status(request("/live")) == 200
    answer = await server.send(request())
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")


def test_the_limiter() -> None:
    now = 1000.0
    limiter = Limiter(0.25, lambda: now)
    assert limiter.admit("a") == 0
    assert (limiter.admit("a"), limiter.admit("b")) == (4, 0)
    now += 3
    assert limiter.admit("a") == 1
    now += 1
    assert (limiter.admit("a"), limiter.admit("a")) == (0, 4)
    now += 1e9
    assert (limiter.admit("a"), limiter.admit("a")) == (0, 4)
    assert [Limiter(0).admit("a") for _ in range(100)] == [0] * 100
    for number in range(MAX_CLIENTS + 100):
        limiter.admit(f"{number}")
    assert len(limiter._clients) == MAX_CLIENTS


@pytest.mark.parametrize(
    ("remote", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_addresses(remote: str | None, client: str) -> None:
    assert _address(SimpleNamespace(remote=remote)) == client  # type: ignore[arg-type]


async def test_who_is_asked_for_is_not_believed(start: Start) -> None:
    server = await start(rate_limit=0.1)
    told = [request("/tables", None, f"X-Forwarded-For: 192.0.2.{n}".encode()) for n in range(2)]
    assert [(await server.send(raw)).status for raw in told] == [401, 429]


async def test_known_pages_may_ask_with_a_token(start: Start) -> None:
    server = await start(cors_origins=PAGE)
    answer = await server.send(REQUESTS["a preflight of a known page"])
    assert {name: value for name, value in answer.headers.items() if name.startswith("Access-Control")} == {
        "Access-Control-Allow-Origin": PAGE,
        "Access-Control-Allow-Headers": "Authorization, Last-Event-ID",
        "Access-Control-Allow-Methods": "GET, HEAD",
        "Access-Control-Expose-Headers": "Retry-After",
        "Access-Control-Max-Age": "600",
    }


async def test_known_pages_may_read_every_answer(start: Start) -> None:
    server = await start(cors_origins=f"{PAGE},http://localhost:3000", rate_limit=0.1)

    async def ask(origin: str, token: str | None = READER) -> Answer:
        return await server.send(request("/tables", token, page(origin)))

    for status in (200, 429):
        answer = await ask(PAGE)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
        assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"
        assert answer.headers["Vary"] == "Origin"
    unknown = await ask("http://localhost:3000", None)
    assert (unknown.status, unknown.headers["Access-Control-Allow-Origin"]) == (401, "http://localhost:3000")
    for other in (
        "https://evil.example",
        f"{PAGE}.evil.example",
        "null",
        f"{PAGE}:444",
        "HTTPS://PAGE.example",
    ):
        answer = await ask(other)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


async def test_a_token_is_sent_on_to_other_workers(start: Start) -> None:
    server = await start()
    answer = await server.send(request("/given", READER))
    assert answer.body == f'"Bearer {READER}"'.encode()
    assert GIVEN.get() is None
    sent = []

    def other(asked: httpx.Request) -> httpx.Response:
        sent.append(asked.headers.get("Authorization"))
        return httpx.Response(503)

    engine: Any = SimpleNamespace(
        url="http://here", peers=SimpleNamespace(owners={TP("t", 0): "http://there"})
    )
    gather = ScatterGather(engine, lambda: httpx.AsyncClient(transport=httpx.MockTransport(other)))
    for token in (None, f"Bearer {READER}"):
        GIVEN.set(token)
        _, missing = await gather.owners("/tables", [TP("t", 0)])
        assert READER not in str(missing)
    assert sent == [None, f"Bearer {READER}"]
    await gather.close()


async def test_a_stream_is_careful_too(start: Start) -> None:
    server = await start(cors_origins=PAGE)
    answer = await server.send(request("/stream", READER, page(PAGE)))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-cache", "Accept, Origin")


async def test_a_failure_of_the_server_itself(tokens: Path, caplog: pytest.LogCaptureFixture) -> None:
    @web.middleware
    async def fail(*_: Any) -> web.StreamResponse:
        raise RuntimeError("the reason is for the log only")

    server = Served(Settings(tokens=tokens))
    server.app.middlewares.insert(0, fail)
    async with server:
        answer = await server.send(request(token=READER))
    assert answer.status == 500
    assert "reason" not in answer.problem["detail"]
    answer.assert_careful()
    assert caplog.messages == ["the web server failed"]
