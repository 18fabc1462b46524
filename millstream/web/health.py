"""Liveness, readiness and startup of a worker, for orchestrators and load balancers."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from faust.web import Request, Response, Web

from millstream.engine.engine import Engine
from millstream.engine.partition import Partition
from millstream.web.openapi import Operation
from millstream.web.responses import Live, Ready, Startup
from millstream.web.service import Service

# A producer that gets no confirmation from Kafka for this time is not healthy.
CONFIRM_SECONDS = 10.0


class Reason(NamedTuple):
    """Why a worker is not ready.

    Attributes:
        code: stable identifier for programs.
        detail: one sentence for people.
    """

    code: str
    detail: str


def reasons(engine: Engine, most: int) -> Iterator[Reason]:
    """Yield the reasons why a worker is not ready; nothing if it is.

    Args:
        engine: the worker's engine.
        most: the largest lag of a partition with which the worker counts as ready, in records.
    """
    if engine.failure is not None:
        yield Reason("failed", f"The worker is stopping because of an error: {engine.failure}.")
    if engine.stopping:
        yield Reason("stopping", "The worker is stopping.")
    if engine.app.rebalancing:
        yield Reason("rebalancing", "The consumer group is rebalancing.")
    elif not engine.joined:
        yield Reason("joining", "The consumer group has not assigned partitions to the worker yet.")
    if not engine.producer_works:
        yield Reason("producer", "The producer has not started, or has stopped.")
    for tp, partition in sorted(engine.partitions.items()):
        if partition.committed is None:
            yield Reason("restoring", f"{partition.name} is not restored yet.")
            continue
        if not partition.at_work:
            yield Reason("retrying", f"{partition.name} has failed, and restarts.")
        since = partition.queue.since
        if since is not None and (waits := time.monotonic() - since) > CONFIRM_SECONDS:
            yield Reason("unconfirmed", f"{partition.name} waits for Kafka's confirmation for {waits:.0f} s.")
        lag = engine.lag(tp)
        if lag is None:
            yield Reason("lag-unknown", f"The end offset of {partition.name} is not known yet.")
        elif lag > most:
            yield Reason("lag", f"{partition.name} is {lag} records behind; at most {most} are allowed.")


def startup(engine: Engine) -> dict[str, Any]:
    """Return the progress of the restores of the worker's partitions, by table."""
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
    begun = [partition.state.progress for partition in held if partition.state is not None]
    under_way = [p.state.progress for p in restoring if p.state is not None and p.state.progress.end]
    # The time left is unknown for a restore that has not found its log's end yet.
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


def install(app: Service) -> None:
    """Serve the health views of a worker."""

    @app.operations.describe(Operation("workers", Live, busy=Live))
    @app.page("/live")
    async def live(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
        """Return whether the process works: 200, or 503 once it stops because of an error."""
        failure = app.engine.failure
        if failure is None:
            return web.json({"live": True})
        return web.json({"live": False, "reason": failure}, status=503)

    @app.operations.describe(Operation("workers", Ready, busy=Ready))
    @app.page("/ready")
    async def ready(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
        """Return whether the worker processes near the end of its topics: 200, or 503 with the reasons."""
        found = [reason._asdict() for reason in reasons(app.engine, app.settings.ready_lag)]
        return web.json({"ready": not found, "reasons": found}, status=503 if found else 200)

    @app.operations.describe(Operation("workers", Startup, busy=Startup))
    @app.page("/startup")
    async def started(web: Web, request: Request) -> Response:  # noqa: ARG001 (Faust's signature)
        """Return whether the first assignment is restored: 200 once it is, before 503 with the progress."""
        engine = app.engine
        if engine.started:
            return web.json({"started": True})
        return web.json(startup(engine), status=503)
