"""Rows of a CSV or NDJSON file, as text by column."""

import csv
import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import orjson

from millstream.sources.lines import Reading
from millstream.sources.record import SourceError

Row = dict[str, str]
JSON_SUFFIXES = {".ndjson", ".jsonl", ".json"}


class Unmapped(ValueError):
    """A row or line that cannot become an event; the text is the reason."""


def is_json(path: Path, first: bytes) -> bool:
    """Return whether a file is NDJSON: by its name, or by a first line that begins with `{`."""
    named = not JSON_SUFFIXES.isdisjoint(suffix.lower() for suffix in path.suffixes[-2:])
    return named or first.lstrip().startswith(b"{")


def csv_rows(
    path: Path,
    lines: Iterator[bytes],
    columns: Mapping[str, Collection[str]] | tuple[str, ...],
    reading: Reading,
) -> Iterator[tuple[int, bytes, Row | Unmapped]]:
    """Yield number, bytes and columns of each row of a CSV file with a header.

    Args:
        path: the file, for messages.
        lines: all its lines, with line ends.
        columns: the required columns, maybe with other names of each; the header may have more.
        reading: decodes the lines.

    Raises:
        SourceError: the header is not the expected one.
    """
    number, held = 0, list[bytes]()

    def texts() -> Iterator[str]:
        nonlocal number
        for line in lines:
            held.append(line)
            number += 1
            yield reading.text(line)

    reader = csv.reader(texts())
    known = columns if isinstance(columns, Mapping) else dict.fromkeys(columns, ())
    header = _header(path, reader, known)
    while True:
        held.clear()
        first = number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            row: Row | Unmapped = Unmapped(f"not CSV: {exc}")
        else:
            if not cells:
                continue
            if len(cells) == len(header):
                row = dict(zip(header, cells, strict=True))
            else:
                row = Unmapped(f"wrong number of columns: {len(cells)} instead of {len(header)}")
        yield first, b"".join(held).rstrip(b"\r\n"), row


def _header(path: Path, reader: Iterator[list[str]], columns: Mapping[str, Collection[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [column for column, others in columns.items() if not {column, *others} & {*header}]
        wrong = f"lacks {', '.join(missing)}" if missing else "names a column twice"
    except csv.Error as exc:
        header, missing, wrong = [], [*columns], f"is not CSV ({exc})"
    if missing or len(set(header)) < len(header):
        raise SourceError(
            f"{path}: the first line {wrong}. Expected a CSV header with the columns {','.join(columns)}; "
            f"found {','.join(header)[:200]!r}."
        )
    return header


def json_rows(
    lines: Iterator[tuple[int, bytes]], columns: tuple[str, ...]
) -> Iterator[tuple[int, bytes, Row | Unmapped]]:
    """Yield number, bytes and fields of each JSON object; a number keeps its digits, null becomes ''.

    Args:
        lines: number and bytes of all lines that are not blank.
        columns: required names of every object; there may be more.
    """
    for number, raw in lines:
        yield number, raw, _row(raw, columns)


def _row(raw: bytes, columns: tuple[str, ...]) -> Row | Unmapped:
    try:
        orjson.loads(raw)  # strict: json accepts NaN and lone surrogates
        fields = json.loads(raw, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as exc:
        return Unmapped(f"not JSON: {exc}")
    if not isinstance(fields, dict):
        return Unmapped("not a JSON object")
    missing = [column for column in columns if column not in fields]
    if missing:
        return Unmapped(f"missing column: {', '.join(missing)}")
    return {
        name: "" if value is None else value if isinstance(value, str) else json.dumps(value)
        for name, value in fields.items()
    }
