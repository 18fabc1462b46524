"""Views behind the authentication on a real server, and the answers that docs/security.md promises."""

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from aiohttp import web
from aiohttp.test_utils import BaseTestServer

from millstream.settings import Settings
from millstream.web.auth import HEADERS, MAX_BODY, protect
from millstream.web.problems import problems
from millstream.web.server import Runner, tls
from millstream.web.tokens import GIVEN

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text()


def answers(heading: str) -> dict[str, str]:
    """Return what is promised in the table with this heading: request -> answer."""
    _, _, table = DOCUMENT.partition(f"| {heading} | answer |\n|---|---|\n")
    return dict(re.findall(r"\| (.+) \| (\w+) \|", table.partition("\n\n")[0]))


class Served(BaseTestServer):
    """A few views behind the authentication."""

    def __init__(self, conf: Settings) -> None:
        super().__init__()
        self.app = web.Application(middlewares=[problems], client_max_size=MAX_BODY)
        for path in ("/live", "/ready", "/tables"):
            self.app.router.add_get(path, _answer)
        self.app.router.add_post("/tables", _answer)
        self.app.router.add_get("/given", _given)
        self.app.router.add_get("/fails", _fail)
        self.app.router.add_get("/stream", _stream)
        protect(self.app, conf)
        self.tls = tls(conf)

    async def _make_runner(self, **options: Any) -> Runner:
        return Runner(self.app, **options)

    async def start_server(self, **options: Any) -> None:
        await super().start_server(ssl=self.tls, **options)

    async def send(self, raw: bytes, context: ssl.SSLContext | None = None) -> "Answer":
        """Send bytes over a connection of their own, and read the last answer to them."""
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=context)
        try:
            writer.write(raw)
            got = await asyncio.wait_for(reader.read(), 20)
        except TimeoutError:  # an OSError, as is a connection that is refused
            raise AssertionError("no answer") from None
        finally:
            writer.close()
        return Answer.of(got)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, raw: bytes) -> "Answer":
        last = raw[raw.rindex(b"HTTP/1.") :]
        head, _, body = last.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return cls(int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body)

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["Content-Type"] == "application/problem+json"
        found: dict[str, Any] = orjson.loads(self.body)
        assert found["status"] == self.status
        return found

    def assert_careful(self) -> None:
        assert {name: self.headers.get(name) for name in HEADERS} == HEADERS
        assert self.headers["Server"] == "millstream"


def request(
    path: str = "/tables", token: str | None = None, *lines: bytes, method: str = "GET", body: bytes = b""
) -> bytes:
    """Make the bytes of a request, after which the connection is closed."""
    head = [f"{method} {path} HTTP/1.1".encode(), b"Host: millstream", b"Connection: close", *lines]
    if token is not None:
        head.append(f"Authorization: Bearer {token}".encode())
    if body:
        head.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join([*head, b"", body])


async def _answer(_request: web.Request) -> web.Response:
    return web.json_response({})


async def _given(_request: web.Request) -> web.Response:
    return web.json_response(GIVEN.get())


async def _fail(_request: web.Request) -> web.Response:
    raise RuntimeError("the reason is for the log only")


async def _stream(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Cache-Control": "no-cache", "Vary": "Accept"})
    await answer.prepare(request)
    await answer.write(b"data: 1\n\n")
    return answer
