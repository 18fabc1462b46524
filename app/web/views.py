"""The web views: live tables and health, as JSON."""

from typing import Any

from faust.web import Request, Response, Web

from app.service import app
from app.settings import settings
from app.web import shapes
from app.web.answers import Health, Index, Partial, Tables
from app.web.asking import EVERYWHERE, Asked, about_key, about_table, about_tables
from app.web.files import FILES, page
from app.web.gather import PARTITIONS_HEADER
from app.web.openapi import PAGES, TEXT, Operation, document, told
from app.web.parameters import choice
from app.web.queries import RETRY, Queries

queries = Queries(app.engine, app.gather)


@told(Operation(PAGES, Index, forms={"text/html": TEXT}, cached=True))
@app.page("/")
async def index(web: Web, request: Request) -> Any:
    """Say what there is to ask: browsers get the live page."""
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


@told(
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


@told(Operation(PAGES, forms={"text/html": TEXT}, cached=True))
@app.page("/docs")
async def docs(web: Web, request: Request) -> Any:  # noqa: ARG001 (as above)
    """Return the page that shows this description."""
    return page(request, "docs.html")


@told(Operation(PAGES, {"type": "object"}))
@app.page("/openapi.json")
async def openapi(web: Web, request: Request) -> Response:  # noqa: ARG001 (as above)
    """Describe all views, as OpenAPI 3.1."""
    return web.json(document(app.web.views, settings(), shapes.types_of(queries.tables)))


@told(Operation("tables", Tables, busy=Partial, query=EVERYWHERE))
@app.page("/tables")
async def list_tables(web: Web, request: Request) -> Response:
    """List the tables, and how far each of their partitions has come."""
    return await _answer(web, request, None, about_tables(request.query))


@told(lambda: shapes.keys_operations(queries.tables))
@app.page("/tables/{table}")
async def list_keys(web: Web, request: Request, table: str) -> Response:
    """List a table's keys with their newest values, or those with the largest figure; see docs/queries.md."""
    return await _answer(web, request, table, about_table(request.query))


@told(lambda: shapes.key_operations(queries.tables, app.engine.references.declared))
@app.page("/tables/{table}/{key:.+}")
async def query_table(web: Web, request: Request, table: str, key: str) -> Response:
    """Ask a table for a key; tables of windows, sessions and joins also take `from`, `to` and `limit`."""
    return await _answer(web, request, table, about_key(key, request.query))


async def _answer(web: Web, request: Request, table: str | None, asked: Asked) -> Response:
    numbers = request.headers.get(PARTITIONS_HEADER)
    if numbers is not None:
        body = await queries.for_another(numbers, table, asked)
        return web.bytes(body, content_type="application/msgpack")
    target = request.rel_url.raw_path_qs
    answer = await (queries.all(asked, target) if table is None else queries.table(table, asked, target))
    if answer["partial"]:
        return web.json(answer, status=503, headers=RETRY)
    return web.json(answer)


@told(Operation("workers", Health, busy=Health))
@app.page("/health")
async def health(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
    """Say whether the worker is at work: 200 if it is, 503 if not (yet)."""
    partitions = [_health(tp, partition) for tp, partition in sorted(app.engine.partitions.items())]
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
        "worker": settings().worker,
        "partitions": partitions,
        "standbys": [
            {"partition": f"{tp.topic}/{tp.partition}", "lag": copy.lag}
            for tp, copy in sorted(app.engine.standbys.copies.items())
        ],
    }
    return web.json(answer, status=200 if status == "ok" else 503)


def _health(tp: Any, partition: Any) -> dict[str, Any]:
    restoring = partition.tag is None
    return {
        "partition": partition.name,
        "status": "restoring" if restoring else "ready",
        **({"restore": _progress(partition)} if restoring and hasattr(partition, "state") else {}),
        "offset": partition.committed,
        "waiting": len(partition.trouble.waiting),
        "lag": app.engine.lag(tp),
    }


def _progress(partition: Any) -> dict[str, Any]:
    progress = partition.state.progress
    return {
        "next": progress.next,
        "end": progress.end,
        "records": progress.records,
        "records_per_second": round(progress.rate),
        "seconds_left": progress.seconds_left,
        "tables": dict(progress.tables),
    }
