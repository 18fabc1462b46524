"""The web views: live tables and health, as JSON."""

from typing import Any

from faust.web import Request, Response, Web

from app.service import app
from app.settings import settings
from app.web.queries import ask, readers, ready, reference_info, rows_of, tables
from tables.table import iso


@app.page("/")
async def index(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
    """Say what there is to ask."""
    return web.json({"service": app.conf.id, "views": ["/health", "/tables", "/tables/{table}/{key}"]})


@app.page("/tables")
async def list_tables(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
    """List the tables, and how far each of their partitions has come."""
    engine = app.engine
    return web.json(
        {
            "tables": [
                {
                    "name": name,
                    "kind": table.kind,
                    "source": topic,
                    "query": f"/tables/{name}/{{key}}",
                    **table.info(readers(engine, topic)),
                    "partitions": [
                        {
                            "partition": p.number,
                            "offset": p.committed,
                            "as_of": iso(p.state.position.watermark),
                        }
                        for p in ready(engine, topic)
                    ],
                }
                for name, (topic, table) in sorted(tables(engine).items())
            ]
            + [reference_info(engine, one) for _, one in sorted(engine.references.declared.items())]
        }
    )


@app.page("/tables/{table}/{key:.+}")
async def query_table(web: Web, request: Request, table: str, key: str) -> Response:
    """Ask a table for a key; a window table also takes `from`, `to` and `limit`."""
    return web.json(await ask(app.engine, table, key, rows_of(request.query)))


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
    highwater = app.consumer.highwater(tp)
    position = partition.committed
    restoring = partition.tag is None
    return {
        "partition": partition.name,
        "status": "restoring" if restoring else "ready",
        **({"restore": _progress(partition)} if restoring and hasattr(partition, "state") else {}),
        "offset": position,
        "waiting": len(partition.trouble.waiting),
        "lag": None if highwater is None or position is None else max(0, highwater - position),
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
