"""Queries of the live tables: of all partitions, whichever worker owns them."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from faust.types import TP

from app.engine.engine import Engine
from app.engine.producer import partition_for
from app.engine.reference import Reference
from app.web.asking import Asked
from app.web.gather import PARTITIONS_HEADER, Gather
from app.web.parts import Held, MovingError, Opened, Part, as_of, check, copied, owned, read, recorded
from app.web.problems import ProblemError
from tables.questions import ByKey, Question
from tables.reading import Committed
from tables.snapshot import TooMuchError
from tables.table import CannotAnswerError, Queryable

RETRY = {"Retry-After": "1"}

# Rows of other workers that the pipeline can wait for.
FEW_ROWS = 100


class Queries:
    """Answers requests, as one worker of the group.

    Args:
        engine: what this worker holds.
        gather: asks the others.
    """

    def __init__(self, engine: Engine, gather: Gather) -> None:
        self._engine = engine
        self._gather = gather

    @property
    def tables(self) -> dict[str, tuple[str, Queryable]]:
        """All tables by name, each with its source topic."""
        sources = self._engine.sources.values()
        return {table.name: (source.topic, table) for source in sources for table in source.tables}

    async def table(self, name: str, asked: Asked, target: str) -> dict[str, Any]:
        """Ask a table.

        Args:
            name: its name.
            asked: what.
            target: path and query of the request.

        Returns:
            What the table says, how fresh that is, and which partitions it is from.

        Raises:
            ProblemError: there is no such table or key, it cannot say that, or none of its partitions can be
                asked now.
        """
        reference = self._engine.references.declared.get(name)
        if reference is not None:
            return _look_up(self._engine, reference, asked)
        topic, table = self._known(name)
        question = asked.question
        assert question is not None
        if not isinstance(question, ByKey):
            _check(question, table)
        wanted = self._partitions(topic)
        if isinstance(question, ByKey) and name in self._engine.sources[topic].keyed and not asked.local:
            wanted = [TP(topic, partition_for(question.key.encode(), len(wanted)))]

        def answer(opened: Opened, others: Sequence[Part]) -> tuple[dict[str, Any] | None, list[Part]]:
            parts, readers = _all(opened, others)
            return question.answer(table, readers), parts

        (found, parts), missing = await self._ask(wanted, asked, target, answer)
        if found is None and not missing:
            raise ProblemError(404, f"{_subject(question)} is not in the table {name!r}.")
        return {
            "table": name,
            **(found or {}),
            "as_of": as_of(max(part.watermark for part in parts)),
            "partial": bool(missing),
            "partitions": [part.shown() for part in parts],
            **_shown(missing),
        }

    async def all(self, asked: Asked, target: str) -> dict[str, Any]:
        """Say what there is to say of the tables, and how far each of their partitions has come.

        Raises:
            ProblemError: no partition can be asked now.
        """
        wanted = [tp for topic in self._engine.sources for tp in self._partitions(topic)]

        def answer(opened: Opened, others: Sequence[Part]) -> list[dict[str, Any]]:
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

        tables, missing = await self._ask(wanted, asked, target, answer)
        declared = sorted(self._engine.references.declared.items())
        return {
            "tables": tables + [_reference_info(self._engine, one) for _, one in declared],
            "partial": bool(missing),
            **_shown(missing, topics=True),
        }

    async def for_another(self, numbers: str, name: str | None, asked: Asked) -> bytes:
        """Return the rows of this worker's partitions that an answer takes, for the worker that makes it.

        Args:
            numbers: the partitions' numbers, with commas.
            name: the table's name; None for all tables.
            asked: what is asked.

        Raises:
            ProblemError: there is no such table, or it cannot say that, or the partitions are moving.
        """
        if not all(number.isdecimal() and len(number) < 10 for number in numbers.split(",")):
            raise ProblemError(400, f"{PARTITIONS_HEADER}: {numbers} are no partitions.")
        wanted = {int(number) for number in numbers.split(",")}
        topics = self._engine.sources if name is None else [self._known(name)[0]]
        tps = [TP(topic, number) for topic in topics for number in sorted(wanted)]
        held = self._held(tps, asked, standbys=tps)

        def ask(tp: TP, reader: Committed) -> None:
            if name is not None and asked.question is not None:
                asked.question.answer(self._known(name)[1], [reader])
                return
            for topic, table in self.tables.values():
                if topic == tp.topic:
                    table.info([reader])

        parts = await self._read(held, lambda opened: recorded(opened, ask))
        return msgspec.msgpack.encode(parts)

    def _known(self, name: str) -> tuple[str, Queryable]:
        known = self.tables
        if name not in known:
            names = ", ".join(sorted([*known, *self._engine.references.declared]))
            raise ProblemError(404, f"There is no table {name!r}; there are {names}.")
        return known[name]

    def _partitions(self, topic: str) -> list[TP]:
        return [TP(topic, number) for number in range(self._engine.app.conf.topic_partitions)]

    def _held(self, tps: Collection[TP], asked: Asked, standbys: Collection[TP]) -> list[Held]:
        """Return what this worker owns of the partitions, and copies of others, if those are wanted."""
        held = owned(self._engine, tps)
        if asked.max_staleness is None:
            return held
        return held + copied(self._engine, _except(held, standbys), asked.max_staleness)

    async def _ask(
        self,
        wanted: Sequence[TP],
        asked: Asked,
        target: str,
        answer: Callable[[Opened, Sequence[Part]], Any],
    ) -> tuple[Any, dict[TP, str]]:
        """Return the answer from all partitions that can be asked, and why the others cannot."""
        held = self._held(wanted, asked, standbys=wanted if asked.local else ())
        others: list[Part] = []
        missing: dict[TP, str] = {}
        if not asked.local and len(held) < len(wanted):
            others, missing = await self._gather.owners(target, _except(held, wanted))
            if missing and asked.max_staleness is not None:
                held += copied(self._engine, missing, asked.max_staleness)
                missing = {tp: missing[tp] for tp in _except(held, missing)}
                more, missing = await self._gather.standbys(target, missing)
                others += more
        if not held and not others:
            why = "; ".join(dict.fromkeys(missing.values())) or "this worker holds none of them (yet)"
            raise ProblemError(503, f"No partition can be asked now: {why}.", RETRY)
        few = sum(len(part.rows) for part in others) <= FEW_ROWS
        return await self._read(held, lambda opened: answer(opened, others), few=few), missing

    async def _read(self, held: Sequence[Held], use: Callable[[Opened], Any], *, few: bool = True) -> Any:
        try:
            answer = None
            if few:
                with suppress(TooMuchError):
                    answer = read(self._engine.url, held, use, glance=True)
            if answer is None:
                answer = await asyncio.to_thread(read, self._engine.url, held, use)
            check(self._engine, held)
        except MovingError as exc:
            raise ProblemError(503, f"{exc}.", RETRY) from None
        except CannotAnswerError as exc:
            raise ProblemError(400, f"{exc}.") from None
        return answer


def _all(opened: Opened, others: Sequence[Part]) -> tuple[list[Part], list[Committed]]:
    """Return all parts and their readers, in the order of the partitions: sums of floats depend on it."""
    found = [(part, Committed(tp.partition, part.watermark, rows)) for tp, (part, rows) in opened.items()]
    found += [(part, part.reader()) for part in others]
    found.sort(key=lambda item: item[0].partition)
    return [part for part, _ in found], [reader for _, reader in found]


def _except(held: Iterable[Held], tps: Iterable[TP]) -> list[TP]:
    mine = {one.tp for one in held}
    return [tp for tp in tps if tp not in mine]


def _check(question: Question, table: Queryable) -> None:
    """Refuse what the table can say of no rows at all, before others are asked."""
    try:
        question.answer(table, [])
    except CannotAnswerError as exc:
        raise ProblemError(400, f"{exc}.") from None


def _subject(question: Question) -> str:
    return repr(question.key) if isinstance(question, ByKey) else "that"


def _shown(missing: Mapping[TP, str], *, topics: bool = False) -> dict[str, Any]:
    if not missing:
        return {}
    return {
        "missing": [
            {**({"source": tp.topic} if topics else {}), "partition": tp.partition, "why": why}
            for tp, why in sorted(missing.items())
        ]
    }


def _look_up(engine: Engine, reference: Reference[Any], asked: Asked) -> dict[str, Any]:
    if not isinstance(asked.question, ByKey):
        raise ProblemError(400, f"{reference.name!r} is a reference topic: ask for a key.")
    key = asked.question.key
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
