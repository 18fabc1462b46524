"""`/stream/…`: the answers of `/tables/…`, sent whenever they change."""

import asyncio
from typing import Any

from aiohttp import web as http
from faust.web import Request, Web

from millstream.web import schemas
from millstream.web.feeds import WRITE_SECONDS, Feeds, Reader
from millstream.web.parameters import Parameter, choice
from millstream.web.problems import ProblemError
from millstream.web.request import KEY, OF_KEY, ParsedRequest, about_key, about_table
from millstream.web.service import Service

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # otherwise nginx buffers events
}


def install(app: Service) -> None:
    """Serve the streams."""

    def ended() -> bool:
        return app.engine.stopping or app.engine.failure is not None or app.gather.closed

    feeds = Feeds(ended)

    def table_parameter() -> Parameter:
        names = app.queries.tables.keys() | app.engine.topology.references.keys()
        return choice("table", "The table.", sorted(names))

    @app.operations.describe(lambda: [schemas.stream(table_parameter(), query=schemas.ALL_OF_KEYS)])
    @app.page("/stream/{table}")
    async def stream_table(web: Web, request: Request, table: str) -> Any:  # noqa: ARG001 (Faust's signature)
        """Stream a table's keys, or those with the largest figure."""
        parsed = about_table(request.query)
        table_parameter().read(table)
        return await _stream(app, feeds, request, table, parsed)

    @app.operations.describe(lambda: [schemas.stream(table_parameter(), KEY, query=OF_KEY)])
    @app.page("/stream/{table}/{key:.+}")
    async def stream_key(web: Web, request: Request, table: str, key: str) -> Any:  # noqa: ARG001 (as above)
        """Stream a table's rows of a key."""
        parsed = about_key(key, request.query)
        table_parameter().read(table)
        return await _stream(app, feeds, request, table, parsed)


async def _stream(
    app: Service, feeds: Feeds, request: Any, table: str, parsed: ParsedRequest
) -> http.StreamResponse:
    """Send events until the client disconnects or is too slow, or the worker stops.

    Raises:
        ProblemError: the query is invalid.
    """
    if parsed.max_staleness is not None:
        raise ProblemError(400, "A stream has no max_staleness: a copy may be older than what was sent.")
    target = request.rel_url.raw_path_qs.replace("/stream/", "/tables/", 1)
    response = http.StreamResponse(headers=HEADERS)

    def drop() -> None:
        if request.transport is not None:
            request.transport.abort()

    reader = Reader(drop)
    last = request.headers.get("Last-Event-ID")
    feed = await feeds.join(target, lambda: app.queries.table(table, parsed, target), reader, last)
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
