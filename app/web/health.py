"""Whether the worker lives, is ready, and has started: for orchestrators and load balancers."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from faust.web import Request, Response, Web

from app.engine.engine import Engine
from app.engine.partition import Partition
from app.service import app
from app.settings import settings
from app.web.answers import Live, Ready, Startup
from app.web.openapi import Operation, told

# A producer that gets no answer of Kafka for so long is not well.
CONFIRM_SECONDS = 10.0


class Reason(NamedTuple):
    """Why a worker is not ready.

    Attributes:
        code: stable word for programs.
        detail: one sentence for people.
    """

    code: str
    detail: str


def reasons(engine: Engine, most: int) -> Iterator[Reason]:
    """Yield why a worker is not ready: nothing if it is.

    Args:
        engine: the worker's engine.
        most: the largest lag of a partition with which it is, in records.
    """
    if engine.failure is not None:
        yield Reason("failed", f"The worker ends: {engine.failure}.")
    if engine.stopping:
        yield Reason("stopping", "The worker was told to end.")
    if engine.app.rebalancing:
        yield Reason("rebalancing", "The consumer group moves partitions.")
    elif not engine.joined:
        yield Reason("joining", "The consumer group has given the worker no partitions yet.")
    if not engine.producer_works:
        yield Reason("producer", "The producer has not started, or has ended.")
    for tp, partition in sorted(engine.partitions.items()):
        if partition.committed is None:
            yield Reason("restoring", f"{partition.name} is not restored yet.")
            continue
        if partition.tag is None:
            yield Reason("retrying", f"{partition.name} has failed, and begins again.")
        since = partition.queue.since
        if since is not None and (waits := time.monotonic() - since) > CONFIRM_SECONDS:
            yield Reason("unconfirmed", f"{partition.name} waits for Kafka's confirmation for {waits:.0f} s.")
        lag = engine.lag(tp)
        if lag is None:
            yield Reason("lag-unknown", f"Kafka has not told yet where {partition.name} ends.")
        elif lag > most:
            yield Reason("lag", f"{partition.name} is {lag} records behind; {most} are allowed.")


def startup(engine: Engine) -> dict[str, Any]:
    """Return how far the restores of the worker's partitions have come, by table."""
    tables: dict[str, Any] = {}
    for topic, source in engine.sources.items():
        held = [partition for tp, partition in engine.partitions.items() if tp.topic == topic]
        if held:
            tables |= {table.name: _restored(table.name, held) for table in source.tables}
    copies = engine.references.copies.values()
    return {
        "started": engine.started,
        "joined": engine.joined,
        "tables": tables,
        "references": {c.reference.name: {"records": c.records, "ready": c.ready.is_set()} for c in copies},
    }


def _restored(table: str, held: Sequence[Partition]) -> dict[str, Any]:
    restoring = [partition for partition in held if partition.committed is None]
    begun = [partition.state.progress for partition in held if hasattr(partition, "state")]
    under_way = [p.state.progress for p in restoring if hasattr(p, "state") and p.state.progress.end]
    # Of a restore that has not found its log's end yet, nobody knows.
    known = [one.seconds_left for one in under_way if one.seconds_left is not None]
    return {
        "partitions": len(held),
        "restored": len(held) - len(restoring),
        "records": sum(one.tables.get(table, 0) for one in begun),
        "records_per_second": round(
            sum(one.rate * one.tables.get(table, 0) / one.records for one in under_way if one.records)
        ),
        "seconds_left": round(max(known, default=0.0), 1) if len(known) == len(restoring) else None,
    }


@told(Operation("workers", Live, busy=Live))
@app.page("/live")
async def live(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
    """Say whether the process works: 200, or 503 once it ends because something has failed."""
    failure = app.engine.failure
    if failure is None:
        return web.json({"live": True})
    return web.json({"live": False, "reason": failure}, status=503)


@told(Operation("workers", Ready, busy=Ready))
@app.page("/ready")
async def ready(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
    """Say whether the worker is at work and near the end of its topics: 200, or 503 with the reasons."""
    found = [reason._asdict() for reason in reasons(app.engine, settings().ready_lag)]
    return web.json({"ready": not found, "reasons": found}, status=503 if found else 200)


@told(Operation("workers", Startup, busy=Startup))
@app.page("/startup")
async def started(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
    """Say whether what the worker got at first is restored: 200 from then on, before 503 with progress."""
    engine = app.engine
    if engine.started:
        return web.json({"started": True})
    return web.json(startup(engine), status=503)
