"""JSON Schemas of the tables' answers, as far as a table's type and its value determine them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from millstream.tables.dedup import DedupTable
from millstream.tables.joins import LEFT, RIGHT, JoinTable
from millstream.tables.origin_dedup import OriginDedupTable
from millstream.tables.queries import Listed, Ranked
from millstream.tables.reference import Reference
from millstream.tables.sessions import SessionTable
from millstream.tables.sliding import SlidingTable
from millstream.tables.table import Queryable
from millstream.tables.values import ValueTable
from millstream.tables.windowed import Windowed
from millstream.web.openapi import REFS, TEXT, Operation, reference
from millstream.web.parameters import Parameter
from millstream.web.request import KEY, MAX_STALENESS, OF_KEY, OF_KEYS, OF_TOP
from millstream.web.responses import Found, Partial, Read

Schema = dict[str, Any]
Known = Mapping[str, tuple[str, Queryable]]

MOMENT: Schema = {"type": "string", "format": "date-time"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
TRUTH: Schema = {"type": "boolean"}
SPAN = {"start": MOMENT, "end": MOMENT}

ALL_OF_KEYS = tuple(dict.fromkeys((*OF_KEYS, *OF_TOP)))


def key_operations(tables: Known, references: Mapping[str, Reference[Any]]) -> Iterator[Operation]:
    """Yield the descriptions of queries for a key: one path per table."""
    for name, (source, table) in sorted(tables.items()):
        yield _of_table(name, "/{key}", _about(table, source), _answer(name, _key(table)), OF_KEY)
    for name, one in sorted(references.items()):
        yield _of_table(name, "/{key}", f"Reference topic {one.topic}.", Found, OF_KEY)


def keys_operations(tables: Known) -> Iterator[Operation]:
    """Yield the descriptions of key lists: one path per table that has one."""
    for name, (source, table) in sorted(tables.items()):
        if isinstance(table, Listed):
            answer = _answer(name, _keys(table))
            if isinstance(table, Ranked):
                answer = {"anyOf": [answer, _answer(name, _top(table))]}
            yield _of_table(name, "", _about(table, source), answer, _asked(table))


def stream(*parts: Parameter, query: Iterable[Parameter]) -> Operation:
    """Return the description of a stream."""
    return Operation(
        "streams",
        forms={"text/event-stream": TEXT},
        parts=parts,
        query=[one for one in query if one is not MAX_STALENESS],
        about="The events `answer`, `changed` and `missing`, until the client disconnects: docs/queries.md.",
        unknown=True,
    )


def types_of(tables: Known) -> list[Any]:
    """Return the types that the tables' answers use."""
    joins = [table for _, table in tables.values() if isinstance(table, JoinTable)]
    return [kept for table in joins for kept in table.types.values()]


def _of_table(name: str, path: str, about: str, answer: Any, query: Sequence[Parameter]) -> Operation:
    return Operation(
        f"table {name}",
        answer,
        busy=Partial,
        path=f"/tables/{quote(name, safe='')}{path}",
        variant=name,
        parts=[KEY] if path else [],
        query=query,
        about=about,
        unknown=True,
    )


def _about(table: Queryable, source: str) -> str:
    return f"{table.kind[0].upper()}{table.kind[1:]}, from {source}."


def _asked(table: Queryable) -> Sequence[Parameter]:
    return ALL_OF_KEYS if isinstance(table, Ranked) else OF_KEYS


def _answer(name: str, fields: Schema) -> Schema:
    """Return the schema of an answer with additional fields; `next` is optional."""
    common = {
        "as_of": {"anyOf": [MOMENT, {"type": "null"}]},
        "partial": {"const": False},
        "partitions": _list(reference(Read)),
    }
    return _object({"table": {"const": name}, **fields, **common})


def _key(table: Any) -> Schema:
    """Return the fields of a table's answer for a key."""
    match table:
        case Windowed():
            total = _result(table)
            shown = {"windows": _list(_object(SPAN, total)), "total": total, "next": MOMENT}
        case SlidingTable():
            shown = {"windows": _list(_object(SPAN, _result(table))), "next": MOMENT}
        case SessionTable():
            shown = {"sessions": _list(_newest(table)), "next": MOMENT}
        case JoinTable():
            shown = {"left": _list(_side(table, LEFT)), "right": _list(_side(table, RIGHT)), "next": MOMENT}
        case OriginDedupTable():
            shown = {"partition": WHOLE}
        case _:
            shown = _newest(table).get("properties", {})
    return {"key": TEXT, **shown}


def _newest(table: Any) -> Schema:
    """Return the schema of a table's newest value of a key."""
    match table:
        case Windowed() | SlidingTable():
            return _object(SPAN, _result(table))
        case SessionTable():
            return _object({**SPAN, "open": TRUTH, "partition": WHOLE}, _result(table))
        case ValueTable():
            return _object({"last_event": MOMENT, "value": _result(table)})
        case JoinTable():
            return {"anyOf": [_side(table, LEFT, side="left"), _side(table, RIGHT, side="right")]}
        case DedupTable():
            return _object({"partition": WHOLE, "offset": WHOLE, "timestamp": MOMENT, "expires": MOMENT})
    return {"type": "object"}


def _keys(table: Any) -> Schema:
    return {"keys": _list(_object({"key": TEXT, "newest": _newest(table)})), "next": TEXT}


def _top(table: Any) -> Schema:
    row = _object({"key": TEXT}, _result(table) if isinstance(table, Windowed) else {})
    return {**SPAN, "by": TEXT, "top": _list(row)}


def _side(table: JoinTable[Any, Any], which: bytes, **more: str) -> Schema:
    fields: Schema = {name: {"const": value} for name, value in more.items()}
    (value,), _ = msgspec.json.schema_components([table.types[which]], ref_template=REFS)
    return _object({**fields, "at": MOMENT, "joined": TRUTH, "partition": WHOLE, "value": value})


def _result(table: Any) -> Schema:
    """Return the result fields of a table's aggregate, from the result of no events: all have the same."""
    return _like(table.value.result(table.value.zero()))


def _like(value: Any) -> Schema:
    """Return the schema of values like this one: of the same type; None stands for any type."""
    match value:
        case dict():
            return _object({name: _like(one) for name, one in value.items()})
        case bool():
            return TRUTH
        case int() | float():
            return NUMBER
        case str():
            return TEXT
        case list():
            return {"type": "array"}
    return {}


def _object(fields: Schema, more: Schema | None = None) -> Schema:
    """Return the schema of an object with all of these fields; only `next` is optional."""
    every = {**fields, **(more or {}).get("properties", {})}
    return {
        "type": "object",
        "properties": every,
        "required": [name for name in every if name != "next"],
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}
