"""The file format that every service has: the fields of a Record, as CSV with a header or as NDJSON."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
import msgspec
import orjson

from millstream.engine.source import Source
from millstream.fields import parted, present
from millstream.records import EventTime
from millstream.sources.formats import Numbered, mapped, numbered
from millstream.sources.lines import Reading
from millstream.sources.numbers import number, plain
from millstream.sources.rows import Row, Unmapped, csv_rows, is_json

NAME = "record"
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


class RecordFormat:
    """Maps rows whose columns are a Record's fields, or their other names; see `FileFormat`.

    A line of NDJSON is the value itself. A cell becomes what its field's type is in JSON; numbers keep their
    digits, lists, dictionaries and Records are written as JSON, and an empty cell is an absent field.

    Args:
        source: the topic of the values.
    """

    name = NAME

    def __init__(self, source: Source) -> None:
        self.source = source
        options = source.record._options
        self._cells: dict[str, Callable[[str, str], Any]] = {}
        required = []
        for name, typ in options.fields.items():
            own, other = parted(typ)
            names = (name, *(other.names if other is not None else ()))
            self._cells.update(dict.fromkeys(names, _cell(present(own))))
            if name not in options.optionalset and other is None:
                required.append(name)
        self._required = tuple(required)

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
        return _number if all(type(one) is int for one in get_args(typ)) else _text
    if typ is EventTime:
        return _time
    if typ is bool:
        return _bool
    if typ in (int, float):
        return _number
    if isinstance(typ, type) and get_origin(typ) is None and not _is_nested(typ):
        return _text
    return _json


def _is_nested(typ: type) -> bool:
    return typ in (list, dict, tuple, set, frozenset) or hasattr(typ, "_options")


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


def _json(column: str, text: str) -> msgspec.Raw:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Unmapped(f"{column} is not JSON: {text[:40]!r}") from None
    return msgspec.Raw(text.encode())
