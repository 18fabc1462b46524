"""Queries of the live tables over all partitions, whichever workers own them."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from faust.types import TP

from millstream.engine.engine import Engine
from millstream.engine.transport import topics_read
from millstream.kafka.partitioner import partition_for
from millstream.state.readers import Committed
from millstream.state.snapshot import TooMuchError
from millstream.tables.queries import ByKey, Query
from millstream.tables.reference import Reference
from millstream.tables.table import CannotAnswerError, Queryable
from millstream.web.partition_reads import (
    Held,
    MovingError,
    Opened,
    PartitionRead,
    as_of,
    check,
    copied,
    owned,
    read,
    recorded,
)
from millstream.web.problems import ProblemError
from millstream.web.request import ParsedRequest
from millstream.web.scatter_gather import PARTITIONS_HEADER, ScatterGather

RETRY = {"Retry-After": "1"}

# With at most this many rows from other workers, the query runs in the event loop, not in a thread.
FEW_ROWS = 100


class Queries:
    """Answers queries as one worker of the group.

    Args:
        engine: the engine of this worker.
        gather: sends requests to the other workers.
    """

    def __init__(self, engine: Engine, gather: ScatterGather) -> None:
        self._engine = engine
        self._gather = gather

    @property
    def tables(self) -> dict[str, tuple[str, Queryable]]:
        """All tables by name, each with its source topic."""
        sources = self._engine.sources.values()
        return {table.name: (source.topic, table) for source in sources for table in source.tables}

    async def table(self, name: str, request: ParsedRequest, target: str) -> dict[str, Any]:
        """Query a table.

        Args:
            name: the table's name.
            request: the parsed request.
            target: path and query of the request.

        Returns:
            The table's answer, its freshness, and the partitions that it is from.

        Raises:
            ProblemError: there is no such table or key, the table cannot answer the query, or none of its
                partitions can be queried now.
        """
        reference = self._engine.topology.references.get(name)
        if reference is not None:
            return _look_up(self._engine, reference, request)
        topic, table = self._known(name)
        query = request.query
        assert query is not None
        if not isinstance(query, ByKey):
            _check(query, table)
        wanted = self._partitions(topic)
        if isinstance(query, ByKey) and name in self._engine.sources[topic].keyed and not request.local:
            wanted = [TP(topic, partition_for(query.key.encode(), len(wanted)))]

        def answer(
            opened: Opened, others: Sequence[PartitionRead]
        ) -> tuple[dict[str, Any] | None, list[PartitionRead]]:
            parts, readers = _all(opened, others)
            return query.answer(table, readers), parts

        (found, parts), missing = await self._ask(wanted, request, target, answer)
        if found is None and not missing:
            raise ProblemError(404, f"{_subject(query)} is not in the table {name!r}.")
        return {
            "table": name,
            **(found or {}),
            "as_of": as_of(max(part.watermark for part in parts)),
            "partial": bool(missing),
            "partitions": [part.shown() for part in parts],
            **_shown(missing),
        }

    async def all(self, request: ParsedRequest, target: str) -> dict[str, Any]:
        """Return facts about the tables, and the position of each of their partitions.

        Raises:
            ProblemError: no partition can be queried now.
        """
        wanted = [tp for topic in self._read_topics for tp in self._partitions(topic)]

        def answer(opened: Opened, others: Sequence[PartitionRead]) -> list[dict[str, Any]]:
            shown = []
            for name, (topic, table) in sorted(self.tables.items()):
                parts, readers = _all(
                    {tp: one for tp, one in opened.items() if tp.topic == topic},
                    [part for part in others if part.topic == topic],
                )
                shown.append(
                    {
                        "name": name,
                        "kind": table.kind,
                        "source": topic,
                        "query": f"/tables/{name}/{{key}}",
                        **table.info(readers),
                        "partitions": [part.shown() for part in parts],
                    }
                )
            return shown

        tables = answer({}, [])
        missing: dict[TP, str] = {}
        if wanted:  # there are none if no agent is loaded
            tables, missing = await self._ask(wanted, request, target, answer)
        declared = sorted(self._engine.topology.references.items())
        return {
            "tables": tables + [_reference_info(self._engine, one) for _, one in declared],
            "partial": bool(missing),
            **_shown(missing, topics=True),
        }

    async def for_another(self, numbers: str, name: str | None, request: ParsedRequest) -> bytes:
        """Return the rows that a query reads from this worker's partitions, for the worker that answers it.

        Args:
            numbers: the partitions' numbers, separated by commas.
            name: the table's name; None for all tables.
            request: the parsed request.

        Raises:
            ProblemError: there is no such table, the table cannot answer the query, or the partitions are
                moving.
        """
        if not all(number.isdecimal() and len(number) < 10 for number in numbers.split(",")):
            raise ProblemError(400, f"{PARTITIONS_HEADER}: {numbers} are not partitions.")
        wanted = {int(number) for number in numbers.split(",")}
        topics = self._read_topics if name is None else [self._known(name)[0]]
        tps = [TP(topic, number) for topic in topics for number in sorted(wanted)]
        held = self._held(tps, request, standbys=tps)

        def ask(tp: TP, reader: Committed) -> None:
            if name is not None and request.query is not None:
                request.query.answer(self._known(name)[1], [reader])
                return
            for topic, table in self.tables.values():
                if topic == tp.topic:
                    table.info([reader])

        parts = await self._read(held, lambda opened: recorded(opened, ask))
        return msgspec.msgpack.encode(parts)

    @property
    def _read_topics(self) -> list[str]:
        """The source topics that loaded agents read."""
        read = topics_read(self._engine.app)
        return [topic for topic in self._engine.sources if topic in read]

    def _known(self, name: str) -> tuple[str, Queryable]:
        known = self.tables
        if name not in known:
            names = ", ".join(sorted([*known, *self._engine.topology.references]))
            raise ProblemError(404, f"There is no table {name!r}; known are: {names}.")
        return known[name]

    def _partitions(self, topic: str) -> list[TP]:
        return [TP(topic, number) for number in range(self._engine.app.conf.topic_partitions)]

    def _held(self, tps: Collection[TP], request: ParsedRequest, standbys: Collection[TP]) -> list[Held]:
        """Return the partitions that this worker owns, and copies of others if the request allows them."""
        held = owned(self._engine, tps)
        if request.max_staleness is None:
            return held
        return held + copied(self._engine, _except(held, standbys), request.max_staleness)

    async def _ask(
        self,
        wanted: Sequence[TP],
        request: ParsedRequest,
        target: str,
        answer: Callable[[Opened, Sequence[PartitionRead]], Any],
    ) -> tuple[Any, dict[TP, str]]:
        """Return the answer from all partitions that can be queried, and why the others cannot."""
        held = self._held(wanted, request, standbys=wanted if request.local else ())
        others: list[PartitionRead] = []
        missing: dict[TP, str] = {}
        if not request.local and len(held) < len(wanted):
            others, missing = await self._gather.owners(target, _except(held, wanted))
            if missing and request.max_staleness is not None:
                held += copied(self._engine, missing, request.max_staleness)
                missing = {tp: missing[tp] for tp in _except(held, missing)}
                more, missing = await self._gather.standbys(target, missing)
                others += more
        if not held and not others:
            why = "; ".join(dict.fromkeys(missing.values())) or "this worker holds none of them (yet)"
            raise ProblemError(503, f"No partition can be queried now: {why}.", RETRY)
        few = sum(len(part.rows) for part in others) <= FEW_ROWS
        return await self._read(held, lambda opened: answer(opened, others), few=few), missing

    async def _read(self, held: Sequence[Held], use: Callable[[Opened], Any], *, few: bool = True) -> Any:
        try:
            answer = None
            if few:
                with suppress(TooMuchError):
                    answer = read(self._engine.url, held, use, peek=True)
            if answer is None:
                answer = await asyncio.to_thread(read, self._engine.url, held, use)
            check(self._engine, held)
        except MovingError as exc:
            raise ProblemError(503, f"{exc}.", RETRY) from None
        except CannotAnswerError as exc:
            raise ProblemError(400, f"{exc}.") from None
        return answer


def _all(opened: Opened, others: Sequence[PartitionRead]) -> tuple[list[PartitionRead], list[Committed]]:
    """Return all reads and their readers in partition order, because sums of floats depend on the order."""
    found = [(part, Committed(tp.partition, part.watermark, rows)) for tp, (part, rows) in opened.items()]
    found += [(part, part.reader()) for part in others]
    found.sort(key=lambda item: item[0].partition)
    return [part for part, _ in found], [reader for _, reader in found]


def _except(held: Iterable[Held], tps: Iterable[TP]) -> list[TP]:
    mine = {one.tp for one in held}
    return [tp for tp in tps if tp not in mine]


def _check(query: Query, table: Queryable) -> None:
    """Reject a query that the table cannot answer even without rows, before other workers are queried."""
    try:
        query.answer(table, [])
    except CannotAnswerError as exc:
        raise ProblemError(400, f"{exc}.") from None


def _subject(query: Query) -> str:
    return repr(query.key) if isinstance(query, ByKey) else "that"


def _shown(missing: Mapping[TP, str], *, topics: bool = False) -> dict[str, Any]:
    if not missing:
        return {}
    return {
        "missing": [
            {**({"source": tp.topic} if topics else {}), "partition": tp.partition, "why": why}
            for tp, why in sorted(missing.items())
        ]
    }


def _look_up(engine: Engine, reference: Reference[Any], request: ParsedRequest) -> dict[str, Any]:
    if not isinstance(request.query, ByKey):
        raise ProblemError(400, f"{reference.name!r} is a reference topic: only single keys can be queried.")
    key = request.query.key
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
        "partial": False,
        "partition": found.partition,
        "offset": found.offset,
    }


def _reference_info(engine: Engine, reference: Reference[Any]) -> dict[str, Any]:
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
