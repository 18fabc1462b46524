"""Queries of this worker's tables."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from rocksdict import DbClosedError

from app.engine.engine import Engine
from app.engine.partition import Partition
from app.engine.reference import Reference
from app.engine.source import State
from app.web.problems import ProblemError
from models.record import event_time
from tables.table import Queryable, Range, iso

MAX_ROWS = 10_000
RETRY = {"Retry-After": "1"}


@dataclass(frozen=True)
class Committed:
    """The committed rows of one partition; see `tables.table.Reader`."""

    partition: int
    watermark: float
    state: State

    def get_committed(self, key: bytes) -> bytes | None:
        """Read one row."""
        return self.state.get_committed(key)

    def scan_committed(self, start: bytes, end: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Read a range of rows, in order."""
        return self.state.scan_committed(start, end)


def tables(engine: Engine) -> dict[str, tuple[str, Queryable]]:
    """Return all tables by name, each with its source topic."""
    return {
        table.name: (source.topic, table) for source in engine.sources.values() for table in source.tables
    }


def ready(engine: Engine, topic: str) -> list[Partition]:
    """Return the partitions of a topic whose state is restored on this worker."""
    return sorted(
        (p for tp, p in engine.partitions.items() if tp.topic == topic and p.tag is not None),
        key=lambda partition: partition.number,
    )


def readers(engine: Engine, topic: str) -> list[Committed]:
    """Return readers of a topic's partitions that are restored on this worker."""
    return [Committed(p.number, p.state.position.watermark, p.state) for p in ready(engine, topic)]


def rows_of(query: Mapping[str, str]) -> Range:
    """Read `from`, `to` and `limit` of a query string.

    Raises:
        ProblemError: one cannot be read.
    """
    given: dict[str, int] = {}
    for name, field in (("from", "start"), ("to", "end")):
        if text := query.get(name):
            try:
                seconds = event_time(float(text) if text.replace(".", "", 1).isdigit() else text)
                iso(seconds)  # refuses what is beyond the calendar
                given[field] = int(seconds)
            except (ValueError, OverflowError):
                raise ProblemError(
                    400,
                    f"{name}={text} is no time: write ISO-8601 (2026-01-31T12:00Z) or epoch seconds.",
                ) from None
    if limit := query.get("limit"):
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_ROWS:
            raise ProblemError(400, f"limit={limit} is not a number from 1 to {MAX_ROWS}.")
        given["limit"] = int(limit)
    return Range(**given)


async def ask(engine: Engine, name: str, key: str, rows: Range) -> dict[str, Any]:
    """Ask a table for a key.

    Returns:
        What the table says, with how fresh it is and which partitions it is from.

    Raises:
        ProblemError: no such table or key, or its partitions are not here (yet).
    """
    known, looked_up = tables(engine), engine.references.declared
    if name in looked_up:
        return _look_up(engine, looked_up[name], key)
    if name not in known:
        names = ", ".join(sorted([*known, *looked_up]))
        raise ProblemError(404, f"There is no table {name!r}; there are {names}.")
    topic, table = known[name]
    found = readers(engine, topic)
    if not found:
        raise ProblemError(503, f"No partition of {topic} is restored on this worker (yet).", RETRY)
    try:
        # A long scan must not hold up the pipeline.
        answer = await asyncio.to_thread(table.query, found, key, rows)
    except DbClosedError:
        raise ProblemError(503, f"Partitions of {topic} are moving to another worker.", RETRY) from None
    if answer is None:
        raise ProblemError(404, f"{key!r} is not in the table {name!r}.")
    held = [reader.partition for reader in found]
    return {
        "table": name,
        "key": key,
        **answer,
        "as_of": iso(max(reader.watermark for reader in found)),
        "partitions": {"held": held, "of": engine.app.conf.topic_partitions},
    }


def _look_up(engine: Engine, reference: Reference[Any], key: str) -> dict[str, Any]:
    copy = engine.references.copies.get(reference.topic)
    if copy is None or not copy.ready.is_set():
        raise ProblemError(503, f"{reference.topic} is not read on this worker (yet).", RETRY)
    found = copy.newest(key)
    if found is None or found.value is None:
        raise ProblemError(404, f"{key!r} is not in the reference topic {reference.name!r}.")
    return {
        "table": reference.name,
        "key": key,
        "value": msgspec.to_builtins(found.value),
        "partition": found.partition,
        "offset": found.offset,
    }


def reference_info(engine: Engine, reference: Reference[Any]) -> dict[str, Any]:
    """Return what there is to say of this worker's copy of a reference topic."""
    copy = engine.references.copies.get(reference.topic)
    shown: dict[str, Any] = {
        "name": reference.name,
        "kind": "reference topic",
        "source": reference.topic,
        "query": f"/tables/{reference.name}/{{key}}",
    }
    if copy is not None:
        shown |= {
            "ready": copy.ready.is_set(),
            "keys": copy.keys,
            "invalid": copy.invalid,
            "partitions": [{"partition": p, "offset": offset} for p, offset in sorted(copy.next.items())],
        }
    return shown
