"""File formats that a service registers: they map the lines of a file to values of a source topic."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, TypeVar

import faust

from millstream.sources.lines import Reading
from millstream.sources.rows import Row, Unmapped, csv_rows, is_json, json_rows

T = TypeVar("T")
Numbered = tuple[int, bytes, bytes | Unmapped]
"""Number and bytes of a line, and its JSON value, or the reason why it has none."""


class Rows(Protocol):
    """Maps the lines of a file to JSON values; see `FileFormat`."""

    @property
    def name(self) -> str:
        """The value of `--as`."""
        ...

    @property
    def about(self) -> str:
        """Description of the files in one line, for help texts."""
        ...

    def values(self, path: Path, lines: Iterator[bytes], reading: Reading) -> Iterator[Numbered]:
        """Yield number, bytes and JSON value of each line or row that is not blank."""
        ...


class FileFormat(Rows, Protocol):
    """Maps the lines of a file to JSON values of a source topic.

    Attributes:
        name: the value of `--as`.
        topic: the source topic.
        about: description of the files in one line, for help texts.
    """

    @property
    def name(self) -> str:
        """The value of `--as`."""
        ...

    @property
    def topic(self) -> faust.Topic:
        """The source topic."""
        ...

    @property
    def about(self) -> str:
        """Description of the files in one line, for help texts."""
        ...

    def values(self, path: Path, lines: Iterator[bytes], reading: Reading) -> Iterator[Numbered]:
        """Yield number, bytes and JSON value of each line or row that is not blank.

        Args:
            path: the file, for messages.
            lines: all its lines, with line ends.
            reading: decodes lines, and counts the encodings.

        Raises:
            SourceError: the file has another format; the text says which one is expected.
        """
        ...


@dataclass(frozen=True)
class LineFormat:
    """A format with one value per line; see `FileFormat`.

    Attributes:
        value: maps a line to JSON; `Unmapped` says why it cannot.
        about: description of the lines, for help texts.
    """

    name: str
    topic: faust.Topic
    value: Callable[[str], bytes]
    about: str

    def values(self, path: Path, lines: Iterator[bytes], reading: Reading) -> Iterator[Numbered]:  # noqa: ARG002 (see `FileFormat`)
        """Yield number, bytes and JSON value of each line that is not blank."""
        for number, raw in numbered(lines):
            yield number, raw, mapped(self.value, reading.text(raw))


@dataclass(frozen=True)
class RowFormat:
    """CSV with a header, or NDJSON with the same columns; see `FileFormat`.

    Attributes:
        columns: the required columns; there may be more.
        value: maps a row to JSON; `Unmapped` says why it cannot.
        json_is_value: whether a line of NDJSON is already the value.
    """

    name: str
    topic: faust.Topic
    columns: tuple[str, ...]
    value: Callable[[Row], bytes]
    json_is_value: bool = False

    @property
    def about(self) -> str:
        """The columns of the files."""
        return f"CSV or NDJSON: {', '.join(self.columns)}, …"

    def values(self, path: Path, lines: Iterator[bytes], reading: Reading) -> Iterator[Numbered]:
        """Yield number, bytes and JSON value of each row."""
        first = next(lines, b"")
        lines = chain((first,), lines)
        if not is_json(path, first):
            rows = csv_rows(path, lines, self.columns, reading)
        elif self.json_is_value:
            yield from ((number, raw, raw) for number, raw in numbered(lines))
            return
        else:
            rows = json_rows(numbered(lines), self.columns)
        for number, raw, row in rows:
            yield number, raw, row if isinstance(row, Unmapped) else mapped(self.value, row)


def numbered(lines: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes, without the line end, of each line that is not blank."""
    for number, line in enumerate(lines, 1):
        raw = line.rstrip(b"\r\n")
        if raw.strip():
            yield number, raw


def mapped(mapping: Callable[[T], bytes], item: T) -> bytes | Unmapped:
    """Return the mapping's JSON for a line or row, or the reason why there is none."""
    try:
        return mapping(item)
    except Unmapped as exc:
        return exc
