"""What the live page needs to know of all workers."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from faust.types import TP
from faust.web import Request, Response, Web

from app.engine.engine import Engine
from app.engine.meters import LATENCY_SECONDS, Meter
from app.engine.partition import Partition
from app.engine.transport import topics_of
from app.panels import PANELS
from app.service import app
from app.settings import settings
from app.web.answers import Overview, Worker
from app.web.gather import Gather
from app.web.health import reasons
from app.web.openapi import Operation, told
from app.web.parameters import given, known, truth
from tables.questions import Listed

STARTED = time.time()

LOCAL = truth("local", "Only what the asked worker knows of itself.")


def worker(engine: Engine, name: str, most: int) -> dict[str, Any]:
    """Return what a worker knows of itself, as JSON; counts are since it has `started`.

    Args:
        engine: its engine.
        name: its name on its machine.
        most: the largest lag of a partition with which it is ready, in records.
    """
    return {
        "worker": engine.url,
        "name": name,
        "started": STARTED,
        "time": engine.clock(),
        "reasons": [reason._asdict() for reason in reasons(engine, most)],
        "topics": {topic: _counts(meter) for topic, meter in sorted(engine.meters.items())},
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


def _counts(meter: Meter) -> dict[str, Any]:
    return {
        "events": meter.events,
        "retries": meter.retries,
        "outputs": meter.outputs,
        "duplicates": meter.duplicates,
        "dead": meter.dead,
        "late": meter.late,
        "latency": meter.latency.counts,
    }


def _partition(engine: Engine, tp: TP, partition: Partition) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "topic": tp.topic,
        "partition": tp.partition,
        "offset": partition.committed,
        "lag": engine.lag(tp),
        "watermark": partition.watermark or None,
        "waiting": len(partition.trouble.waiting),
    }
    if partition.committed is None:
        progress = partition.state.progress if hasattr(partition, "state") else None
        shown["restore"] = {
            "left": max(0, progress.end - progress.next) if progress and progress.end else None,
            "seconds_left": progress.seconds_left if progress and progress.end else None,
        }
    return shown


def service(engine: Engine) -> dict[str, Any]:
    """Return what is the same at each worker: agents, tables, panels."""
    sources = engine.sources.values()
    return {
        "service": engine.app.conf.id,
        "prefix": settings().topic_prefix,
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
            for name, one in sorted(engine.references.declared.items())
        ],
        "panels": [panel.shown() for panel in PANELS],
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


async def overview(engine: Engine, gather: Gather, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what all workers know of themselves; `missing` are those that do not say it.

    Args:
        engine: the asked worker's engine.
        gather: asks the others.
        own: what the asked worker knows of itself.
    """
    others, missing = await gather.everybody("/overview?local=true")
    found = [one for one in others if isinstance(one, dict) and "worker" in one]
    return {
        **service(engine),
        "asked": engine.url,
        "workers": sorted([own, *found], key=lambda one: str(one["worker"])),
        "partial": bool(missing),
        "missing": [{"worker": url, "why": why} for url, why in missing.items()],
    }


@told(Operation("workers", (Overview, Worker), query=[LOCAL]))
@app.page("/overview")
async def show_overview(web: Web, request: Request) -> Response:
    """Say what the live page shows: of all workers, or with `local=true` of this one only."""
    known(request.query, [LOCAL])
    own = worker(app.engine, settings().worker, settings().ready_lag)
    if given(request.query, local=LOCAL).get("local"):
        return web.json(own)
    return web.json(await overview(app.engine, app.gather, own))
