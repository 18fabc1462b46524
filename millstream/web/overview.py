"""The data of all workers for the live page."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from faust.types import TP
from faust.web import Request, Response, Web

from millstream.engine.counters import LATENCY_SECONDS, Counters
from millstream.engine.engine import Engine
from millstream.engine.partition import Partition
from millstream.engine.transport import topics_of
from millstream.tables.queries import Listed
from millstream.web.health import reasons
from millstream.web.openapi import Operation
from millstream.web.parameters import given, known, truth
from millstream.web.responses import Overview, Worker
from millstream.web.service import Service

STARTED = time.time()

LOCAL = truth("local", "Only the data of the worker that receives the request.")


def worker(engine: Engine, name: str, most: int) -> dict[str, Any]:
    """Return a worker's data, as JSON; counts are since it has `started`.

    Args:
        engine: the worker's engine.
        name: the worker's name on its machine.
        most: the largest lag of a partition with which the worker counts as ready, in records.
    """
    return {
        "worker": engine.url,
        "name": name,
        "started": STARTED,
        "time": engine.clock(),
        "reasons": [reason._asdict() for reason in reasons(engine, most)],
        "topics": {topic: _counts(counters) for topic, counters in sorted(engine.counters.items())},
        "partitions": [_partition(engine, tp, p) for tp, p in sorted(engine.partitions.items())],
        "standbys": [
            {
                "topic": tp.topic,
                "partition": tp.partition,
                "lag": copy.lag,
                "staleness": round(copy.staleness, 1) if copy.current else None,
            }
            for tp, copy in sorted(engine.standbys.copies.items())
        ],
    }


def _counts(counters: Counters) -> dict[str, Any]:
    return {
        "events": counters.events,
        "retries": counters.retries,
        "outputs": counters.outputs,
        "duplicates": counters.duplicates,
        "dead": counters.dead,
        "late": counters.late,
        "latency": counters.latency.counts,
    }


def _partition(engine: Engine, tp: TP, partition: Partition) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "topic": tp.topic,
        "partition": tp.partition,
        "offset": partition.committed,
        "lag": engine.lag(tp),
        "watermark": partition.cursor.watermark or None,
        "waiting": len(partition.errors.retry_queue),
    }
    if partition.committed is None:
        progress = partition.state.progress if partition.state is not None else None
        shown["restore"] = {
            "left": max(0, progress.end - progress.next) if progress and progress.end else None,
            "seconds_left": progress.seconds_left if progress and progress.end else None,
        }
    return shown


def service(app: Service) -> dict[str, Any]:
    """Return the data that is the same at each worker: agents, tables, panels."""
    engine = app.engine
    sources = engine.sources.values()
    return {
        "service": engine.app.conf.id,
        "prefix": app.settings.topic_prefix,
        "partitions": engine.app.conf.topic_partitions,
        "latency_bounds": list(LATENCY_SECONDS),
        "agents": list(_agents(engine)),
        "tables": [
            {"name": t.name, "kind": t.kind, "source": s.topic, "listed": isinstance(t, Listed)}
            for s in sources
            for t in s.tables
        ]
        + [
            {"name": name, "kind": "reference topic", "source": one.topic, "listed": False}
            for name, one in sorted(engine.topology.references.items())
        ],
        "panels": [panel.shown() for panel in app.panels],
    }


def _agents(engine: Engine) -> Iterator[dict[str, Any]]:
    for agent in engine.app.agents.values():
        for topic in topics_of(agent.channel):
            source = engine.sources.get(topic)
            if source is not None:
                yield {
                    "agent": agent.name.rpartition(".")[2],
                    "about": (agent.fun.__doc__ or "").strip().partition("\n")[0],
                    "topic": topic,
                    "dead_letters": source.dead_letters,
                    "late": source.late,
                    "tables": [table.name for table in source.tables],
                }


async def overview(app: Service, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of all workers; `missing` has those that do not answer.

    Args:
        app: the service, at the worker that receives the request.
        own: the data of this worker.
    """
    others, missing = await app.gather.everybody("/overview?local=true")
    found = [one for one in others if isinstance(one, dict) and "worker" in one]
    return {
        **service(app),
        "asked": app.engine.url,
        "workers": sorted([own, *found], key=lambda one: str(one["worker"])),
        "partial": bool(missing),
        "missing": [{"worker": url, "why": why} for url, why in missing.items()],
    }


def install(app: Service) -> None:
    """Serve the data of the live page."""

    @app.operations.describe(Operation("workers", (Overview, Worker), query=[LOCAL]))
    @app.page("/overview")
    async def show_overview(web: Web, request: Request) -> Response:
        """Return the data of the live page: of all workers, or of this one only with `local=true`."""
        known(request.query, [LOCAL])
        own = worker(app.engine, app.settings.worker, app.settings.ready_lag)
        if given(request.query, local=LOCAL).get("local"):
            return web.json(own)
        return web.json(await overview(app, own))
