"""The web views: live tables and health, as JSON."""

from typing import Any

from faust.types import TP
from faust.web import Request, Response, Web

from millstream.engine.engine import Engine
from millstream.engine.partition import Partition
from millstream.state.state import State
from millstream.web import dead_letters, metrics, overview, schemas, sse
from millstream.web import health as health_views
from millstream.web.openapi import PAGES, TEXT, Operation, document
from millstream.web.parameters import choice
from millstream.web.queries import RETRY
from millstream.web.request import EVERYWHERE, ParsedRequest, about_key, about_table, about_tables
from millstream.web.responses import Health, Index, Partial, Tables
from millstream.web.scatter_gather import PARTITIONS_HEADER
from millstream.web.service import Service
from millstream.web.static_files import FILES, page


def install(app: Service) -> None:
    """Serve all views of a service."""

    @app.operations.describe(Operation(PAGES, Index, forms={"text/html": TEXT}, cached=True))
    @app.page("/")
    async def index(web: Web, request: Request) -> Any:
        """List the views of the service; browsers get the live page."""
        if "text/html" in request.headers.get("Accept", ""):
            return page(request, "page.html")
        views = [
            "/health",
            "/tables",
            "/tables/{table}",
            "/tables/{table}/{key}",
            "/stream/{table}",
            "/stream/{table}/{key}",
            "/overview",
            "/dead-letters",
            "/openapi.json",
            "/docs",
        ]
        return web.json({"service": app.conf.id, "views": views}, headers={"Vary": "Accept"})

    @app.operations.describe(
        Operation(
            PAGES,
            forms={"text/*": TEXT},
            parts=[choice("name", "The file.", FILES)],
            unknown=True,
            cached=True,
        )
    )
    @app.page("/page/{name}")
    async def page_file(web: Web, request: Request, name: str) -> Any:  # noqa: ARG001 (Faust's signature)
        """Return a file of the pages."""
        return page(request, name)

    @app.operations.describe(Operation(PAGES, forms={"text/html": TEXT}, cached=True))
    @app.page("/docs")
    async def docs(web: Web, request: Request) -> Any:  # noqa: ARG001 (as above)
        """Return the page that shows this description."""
        return page(request, "docs.html")

    @app.operations.describe(Operation(PAGES, {"type": "object"}))
    @app.page("/openapi.json")
    async def openapi(web: Web, request: Request) -> Response:  # noqa: ARG001 (as above)
        """Return the OpenAPI 3.1 description of all views."""
        return web.json(
            document(app.web.views, app.operations, app.settings, schemas.types_of(app.queries.tables))
        )

    @app.operations.describe(Operation("tables", Tables, busy=Partial, query=EVERYWHERE))
    @app.page("/tables")
    async def list_tables(web: Web, request: Request) -> Response:
        """List the tables, and the position of each of their partitions."""
        return await _answer(app, web, request, None, about_tables(request.query))

    @app.operations.describe(lambda: schemas.keys_operations(app.queries.tables))
    @app.page("/tables/{table}")
    async def list_keys(web: Web, request: Request, table: str) -> Response:
        """List a table's keys with their newest values, or those with the largest figure: docs/queries.md."""
        return await _answer(app, web, request, table, about_table(request.query))

    @app.operations.describe(
        lambda: schemas.key_operations(app.queries.tables, app.engine.topology.references)
    )
    @app.page("/tables/{table}/{key:.+}")
    async def query_table(web: Web, request: Request, table: str, key: str) -> Response:
        """Return a table's rows of a key; windows, sessions and joins also take `from`, `to` and `limit`."""
        return await _answer(app, web, request, table, about_key(key, request.query))

    @app.operations.describe(Operation("workers", Health, busy=Health))
    @app.page("/health")
    async def health(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
        """Return whether the worker is processing: 200 if it is, 503 if not (yet)."""
        partitions = [
            _health(app.engine, tp, partition) for tp, partition in sorted(app.engine.partitions.items())
        ]
        if app.engine.failure is not None:
            status = f"failed: {app.engine.failure}"
        elif app.engine.stopping:
            status = "stopping"
        elif not app.engine.at_work:
            status = "joining"
        elif any(p["status"] != "ready" for p in partitions):
            status = "restoring"
        else:
            status = "ok"
        answer = {
            "status": status,
            "worker": app.settings.worker,
            "partitions": partitions,
            "standbys": [
                {"partition": f"{tp.topic}/{tp.partition}", "lag": copy.lag}
                for tp, copy in sorted(app.engine.standbys.copies.items())
            ],
        }
        return web.json(answer, status=200 if status == "ok" else 503)

    for module in (sse, health_views, dead_letters, metrics, overview):
        module.install(app)


async def _answer(
    app: Service, web: Web, request: Request, table: str | None, parsed: ParsedRequest
) -> Response:
    queries = app.queries
    numbers = request.headers.get(PARTITIONS_HEADER)
    if numbers is not None:
        body = await queries.for_another(numbers, table, parsed)
        return web.bytes(body, content_type="application/msgpack")
    target = request.rel_url.raw_path_qs
    answer = await (queries.all(parsed, target) if table is None else queries.table(table, parsed, target))
    if answer["partial"]:
        return web.json(answer, status=503, headers=RETRY)
    return web.json(answer)


def _health(engine: Engine, tp: TP, partition: Partition) -> dict[str, Any]:
    restoring = not partition.at_work
    return {
        "partition": partition.name,
        "status": "restoring" if restoring else "ready",
        **({"restore": _progress(partition.state)} if restoring and partition.state is not None else {}),
        "offset": partition.committed,
        "waiting": len(partition.errors.retry_queue),
        "lag": engine.lag(tp),
    }


def _progress(state: State) -> dict[str, Any]:
    progress = state.progress
    return {
        "next": progress.next,
        "end": progress.end,
        "records": progress.records,
        "records_per_second": round(progress.rate),
        "seconds_left": progress.seconds_left,
        "tables": dict(progress.tables),
    }
