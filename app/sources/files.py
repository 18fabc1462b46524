"""Files of events: which format, which mapping, and what of it the service will accept."""

import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec

from app.settings import settings
from app.sources import access_log, activity, retail
from app.sources.lines import Reading, lines
from app.sources.record import BadLine, Record, SourceError
from app.sources.rows import Unmapped, csv_rows, is_json, json_rows
from models.activity import ActivityEvent
from models.record import Decoder, Invalid

MAPPINGS = ("activity", "retail", "access-log")
BATCH = 128

T = TypeVar("T")
_Numbered = tuple[int, bytes, bytes | Unmapped]


class _Value(msgspec.Struct):
    value: bytes | None
    timestamp: int


def read(path: Path, mapping: str, reading: Reading | None = None) -> Iterator[Record | BadLine]:
    """Read a file, line by line, in its order.

    A line that the service would dead-letter is a bad line here already: the same decoder judges it.

    Args:
        path: NDJSON, CSV or access log, plain or gzip.
        mapping: one of `MAPPINGS`.
        reading: receives how far the file is read.

    Raises:
        SourceError: the file cannot be read, or not any further; its text says what to do.
        ValueError: there is no such mapping.
    """
    if mapping not in MAPPINGS:
        raise ValueError(f"no mapping {mapping!r}; there are {', '.join(MAPPINGS)}")
    limits = settings()
    decoder = Decoder(ActivityEvent, max_bytes=limits.max_event_bytes, max_future=limits.max_future)
    now = int(time.time() * 1000)
    for batch in _batches(_values(path, mapping, reading or Reading())):
        mapped = [_Value(value, now) for _, _, value in batch if not isinstance(value, Unmapped)]
        events = iter(decoder.many(mapped))
        for number, raw, value in batch:
            if isinstance(value, Unmapped):
                yield BadLine(number, raw, str(value))
            elif isinstance(event := next(events), Invalid):
                yield BadLine(number, raw, f"{event.code}: {event.reason}")
            else:
                yield Record(event.user_id.encode(), value, event.timestamp)


def _batches(values: Iterator[_Numbered]) -> Iterator[list[_Numbered]]:
    """Decoding many at once saves a tenth of the time; what was read before an error still comes."""
    batch: list[_Numbered] = []
    try:
        for value in values:
            batch.append(value)
            if len(batch) == BATCH:
                yield batch
                batch = []
    except SourceError:
        yield batch
        raise
    yield batch


def _values(path: Path, mapping: str, reading: Reading) -> Iterator[_Numbered]:
    """Yield number, bytes and JSON of each line or row that is not blank."""
    stream = lines(path, reading)
    first = next(stream, b"")
    stream = chain((first,), stream)
    if mapping == "access-log":
        for number, raw in _numbered(stream):
            yield number, raw, _mapped(access_log.value, reading.text(raw))
    elif mapping == "activity" and is_json(path, first):
        for number, raw in _numbered(stream):
            yield number, raw, raw
    else:
        source = activity if mapping == "activity" else retail
        if is_json(path, first):
            rows = json_rows(_numbered(stream), source.COLUMNS)
        else:
            rows = csv_rows(path, stream, source.COLUMNS, reading)
        for number, raw, row in rows:
            yield number, raw, row if isinstance(row, Unmapped) else _mapped(source.value, row)


def _numbered(stream: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(stream, 1):
        raw = line.rstrip(b"\r\n")
        if raw.strip():
            yield number, raw


def _mapped(mapping: Callable[[T], bytes], item: T) -> bytes | Unmapped:
    try:
        return mapping(item)
    except Unmapped as exc:
        return exc
