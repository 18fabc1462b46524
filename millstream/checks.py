"""Checks of what a service declares: each fault has a sentence that says what to write instead."""

import re
import sys
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

import faust

from millstream.engine.source import Source
from millstream.errors import DeclarationError
from millstream.fields import parted
from millstream.records import EventTime
from millstream.state.replica import Table

# Kafka's rule.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
# A name is part of URLs, and a zero byte ends it in the rows' keys.
_TABLE = re.compile(r"[A-Za-z0-9._-]{1,100}")


def check_app_id(name: str) -> None:
    """Check the id of an App.

    Raises:
        DeclarationError: it cannot be a part of topics' names.
    """
    if not _TABLE.fullmatch(name):
        raise DeclarationError(
            f"an App cannot have the id {name!r}, which becomes a part of topics' names: letters, digits, "
            "`.`, `_` and `-`, at most 100 of them"
        )


def check_topic_name(name: str) -> None:
    """Check a topic's name in Kafka.

    Raises:
        DeclarationError: Kafka does not allow it.
    """
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise DeclarationError(
            f"Kafka allows no topic {name!r}: letters, digits, `.`, `_` and `-`, at most 249 of them"
        )


def check_table_name(name: str) -> None:
    """Check a table's name.

    Raises:
        DeclarationError: it is not allowed.
    """
    if not _TABLE.fullmatch(name):
        raise DeclarationError(
            f"a table cannot be named {name!r}: letters, digits, `.`, `_` and `-`, at most 100 of them"
        )


def check_key(record: type[faust.Record], key: str) -> None:
    """Check that a Record's field can be the key of a topic.

    Raises:
        DeclarationError: it is not there, or neither text nor a whole number.
    """
    typ = _field(record, key, "key")
    if get_origin(typ) is Literal:
        allowed = all(type(choice) in (str, int) for choice in get_args(typ))
    else:
        allowed = typ in (str, int)
    if not allowed:
        raise DeclarationError(
            f"{record.__name__}.{key} cannot be the key, it is {_said(typ)}: a key is a field of type str "
            "or int that every event has"
        )


def check_event_time(record: type[faust.Record], field: str) -> None:
    """Check that a Record's field can be the event time.

    Raises:
        DeclarationError: it is not there, or no time.
    """
    typ = _field(record, field, "event_time")
    if typ not in (EventTime, float, int):
        raise DeclarationError(
            f"{record.__name__}.{field} cannot be the event time, it is {_said(typ)}: write "
            f"`{field}: EventTime` (`from millstream import EventTime`), which takes ISO-8601 text and "
            "numbers, and is seconds since the epoch"
        )


def check_table(table: Table, source: Source) -> None:
    """Check that a table fits its source topic, and tell it the event-time field.

    Raises:
        DeclarationError: it does not.
    """
    if getattr(table, "grace", None) is not None and source.late is None:
        raise DeclarationError(
            f"table {table.name!r} has a grace: give {source.topic} a topic for what comes after it, "
            "`source_topic(…, late=…)`"
        )
    field = getattr(table, "id_field", None)
    if field is not None:
        known, name = source.record._options.fields, source.record.__name__
        if field not in known:
            raise DeclarationError(
                f"table {table.name!r} deduplicates by {field!r}, which {name} has not: "
                f"`DedupTable(…, id=…)` takes a field or a function; the fields are {', '.join(known)}"
            )
        if (typ := _base(known[field])) not in (str, int):
            raise DeclarationError(
                f"table {table.name!r} deduplicates by {name}.{field}, which is {_said(typ)}: an id is "
                "a field of type str or int that every event has, or `id=` is a function that returns one"
            )
    if hasattr(table, "attached"):
        table.attached(source.time_field)


def unattached_tables(modules: Iterable[str], attached: Iterable[Table]) -> list[str]:
    """Return the tables of a service that no source topic has, each as `module.name`.

    Args:
        modules: names of the service's loaded modules.
        attached: the tables that are attached.
    """
    known = {id(table) for table in attached}
    found: dict[int, str] = {}
    for name in modules:
        for attribute, value in vars(sys.modules[name]).items():
            is_table = type(value).__module__.startswith("millstream.tables.") and hasattr(value, "derive")
            if is_table and id(value) not in known:
                # Where it is made, not where it is imported: the shortest name.
                where = f"{name}.{attribute}"
                found[id(value)] = min(found.get(id(value), where), where, key=len)
    return sorted(found.values())


def _field(record: type[faust.Record], name: str, role: str) -> Any:
    """Return the type of a Record's field, without annotations."""
    known = record._options.fields
    if name not in known:
        raise DeclarationError(
            f"{record.__name__} has no field {name!r}, which `{role}=` names; its fields are "
            + ", ".join(known)
        )
    return _base(known[name])


def _base(typ: Any) -> Any:
    typ = parted(typ)[0]
    return get_args(typ)[0] if get_origin(typ) is Annotated else typ


def _said(typ: Any) -> str:
    return typ.__name__ if isinstance(typ, type) else str(typ).replace("typing.", "")
