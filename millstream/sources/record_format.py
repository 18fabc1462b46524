"""The file format that every service has: the fields of a Record, as CSV with a header or as NDJSON."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, timedelta
from datetime import time as dtime
from decimal import Decimal
from enum import Enum
from itertools import chain
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

import click
import msgspec
import orjson

from millstream.engine.source import Source
from millstream.fields import Fallback, parted, present
from millstream.records import EventTime
from millstream.sources.formats import Numbered, mapped, numbered
from millstream.sources.lines import Reading
from millstream.sources.numbers import number, plain
from millstream.sources.rows import Row, Unmapped, csv_rows, is_json

NAME = "record"
# Types whose form in JSON is text.
TEXTS = {str, bytes, datetime, date, dtime, timedelta, Decimal, UUID}
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


class RecordFormat:
    """Maps rows whose columns are a Record's fields, or their other names; see `FileFormat`.

    A line of NDJSON is the value itself. A cell becomes what its field's type is in JSON; numbers keep their
    digits, lists, dictionaries and Records are written as JSON, and an empty cell is an absent field, also
    of text: then a row of a required field is bad.

    Args:
        source: the topic of the values.
    """

    name = NAME

    def __init__(self, source: Source) -> None:
        self.source = source
        options = source.record._options
        self._cells: dict[str, Callable[[str, str], Any]] = {}
        self._required: dict[str, tuple[str, ...]] = {}
        for name, typ in options.fields.items():
            own, other = parted(typ)
            others, fallback = ((), None) if other is None else (other.names, other.fallback)
            self._cells.update(dict.fromkeys((name, *others), _cell(present(own))))
            # A line of a file has no record key.
            if name not in options.optionalset and fallback in (None, Fallback.RECORD_KEY):
                self._required[name] = others

    @property
    def about(self) -> str:
        """The columns of the files."""
        return f"CSV or NDJSON with the fields of {self.source.record.__name__}"

    def values(self, path: Path, lines: Iterator[bytes], reading: Reading) -> Iterator[Numbered]:
        """Yield number, bytes and JSON value of each row."""
        first = next(lines, b"")
        lines = chain((first,), lines)
        if is_json(path, first):
            yield from ((at, raw, raw) for at, raw in numbered(lines))
            return
        noted = False
        for at, raw, row in csv_rows(path, lines, self._required, reading):
            if not noted and not isinstance(row, Unmapped):
                noted = True
                if more := [name for name in row if name not in self._cells]:
                    record = self.source.record.__name__
                    click.echo(
                        f"{path}: ignored, since {record} has no such field: {', '.join(more)}", err=True
                    )
            yield at, raw, row if isinstance(row, Unmapped) else mapped(self._value, row)

    def _value(self, row: Row) -> bytes:
        cells = self._cells
        return msgspec.json.encode(
            {name: cells[name](name, text) for name, text in row.items() if name in cells and text != ""}
        )


def _cell(typ: Any) -> Callable[[str, str], Any]:
    """Return what turns the text of a cell into JSON of a type."""
    if get_origin(typ) is Literal:
        return _choice(get_args(typ))
    if isinstance(typ, type) and issubclass(typ, Enum):
        return _choice(one.value for one in typ)
    if get_origin(typ) in (Union, UnionType):
        return _json if TEXTS.isdisjoint(get_args(typ)) else _json_or_text
    scalars = {EventTime: _time, bool: _bool, int: _number, float: _number, Any: _json_or_text}
    return _text if typ in TEXTS else scalars.get(typ, _json)


def _choice(values: Iterable[Any]) -> Callable[[str, str], Any]:
    choices = {str(value): value for value in values}
    other = _number if all(type(value) is int for value in choices.values()) else _text
    return lambda column, text: choices[text] if text in choices else other(column, text)


def _text(_: str, text: str) -> str:
    return text


def _number(column: str, text: str) -> msgspec.Raw:
    return msgspec.Raw(plain(number(column, text)).encode())


def _time(column: str, text: str) -> Any:
    return _number(column, text) if text.strip().replace(".", "", 1).isdecimal() else text


def _bool(column: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE | FALSE:
        raise Unmapped(f"{column} is not true or false: {text[:40]!r}")
    return word in TRUE


def _json_or_text(column: str, text: str) -> msgspec.Raw | str:
    try:
        return _json(column, text)
    except Unmapped:
        return text


def _json(column: str, text: str) -> msgspec.Raw:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unmapped(f"{column} is not JSON: {text[:40]!r}") from None
    return msgspec.Raw(text.encode())
