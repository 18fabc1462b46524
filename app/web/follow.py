"""`/stream/…`: what `/tables/…` answers, sent whenever it has changed."""

import asyncio
from typing import Any

from aiohttp import web as http
from faust.web import Request, Web

from app.service import app
from app.web import shapes
from app.web.asking import KEY, OF_KEY, Asked, about_key, about_table
from app.web.openapi import told
from app.web.parameters import Parameter, choice
from app.web.problems import ProblemError
from app.web.streams import WRITE_SECONDS, Reader, Streams
from app.web.views import queries

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # else nginx keeps events back
}


def _ended() -> bool:
    return app.engine.stopping or app.engine.failure is not None or app.gather.closed


streams = Streams(_ended)


def _table() -> Parameter:
    names = queries.tables.keys() | app.engine.references.declared.keys()
    return choice("table", "The table.", sorted(names))


@told(lambda: [shapes.stream(_table(), query=shapes.ALL_OF_KEYS)])
@app.page("/stream/{table}")
async def follow_table(web: Web, request: Request, table: str) -> Any:  # noqa: ARG001 (Faust's signature)
    """Follow a table's keys, or those with the largest figure."""
    return await follow(request, table, about_table(request.query))


@told(lambda: [shapes.stream(_table(), KEY, query=OF_KEY)])
@app.page("/stream/{table}/{key:.+}")
async def follow_key(web: Web, request: Request, table: str, key: str) -> Any:  # noqa: ARG001 (as above)
    """Follow what a table holds of a key."""
    return await follow(request, table, about_key(key, request.query))


async def follow(request: Any, table: str, asked: Asked) -> http.StreamResponse:
    """Send events until the client has gone, is too slow, or the worker ends.

    Raises:
        ProblemError: the question cannot be asked.
    """
    _table().read(table)
    if asked.max_staleness is not None:
        raise ProblemError(400, "A stream has no max_staleness: a copy may be older than what was sent.")
    target = request.rel_url.raw_path_qs.replace("/stream/", "/tables/", 1)
    response = http.StreamResponse(headers=HEADERS)

    def drop() -> None:
        if request.transport is not None:
            request.transport.abort()

    reader = Reader(drop)
    last = request.headers.get("Last-Event-ID")
    feed = await streams.join(target, lambda: queries.table(table, asked, target), reader, last)
    try:
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        while (event := await reader.next()) is not None:
            async with asyncio.timeout(WRITE_SECONDS):
                await response.write(event)
    except (TimeoutError, ConnectionError):
        drop()
    finally:
        feed.readers.discard(reader)
    return response
