"""Files of events, validated as the service validates them."""

import time
from collections.abc import Iterator
from pathlib import Path

from millstream.engine.source import Source
from millstream.kafka.records import Unsent
from millstream.records import Invalid
from millstream.sources.formats import Numbered, Rows
from millstream.sources.lines import Reading, lines
from millstream.sources.record import BadLine, Record, SourceError
from millstream.sources.rows import Unmapped

BATCH = 128


def read(
    path: Path, form: Rows, source: Source, reading: Reading | None = None
) -> Iterator[Record | BadLine]:
    """Read a file, line by line, in order.

    A line that the service would dead-letter is a bad line here, because the same decoder validates it.

    Args:
        path: the file, plain or gzip.
        form: its format.
        source: the source topic of that format.
        reading: receives the progress.

    Raises:
        SourceError: the file cannot be read, or not completely; the text says what to do.
    """
    now = int(time.time() * 1000)
    reading = reading or Reading()
    for batch in _batches(form.values(path, lines(path, reading), reading)):
        mapped = [Unsent(value, now) for _, _, value in batch if not isinstance(value, Unmapped)]
        events = iter(source.decode(mapped))
        for number, raw, value in batch:
            if isinstance(value, Unmapped):
                yield BadLine(number, raw, str(value))
            elif isinstance(event := next(events), Invalid):
                yield BadLine(number, raw, f"{event.code}: {event.reason}")
            else:
                yield Record(str(getattr(event, source.key)).encode(), value, source.event_time(event))


def _batches(values: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    """Group values, because decoding many at once saves a tenth of the time; an error comes last."""
    batch: list[Numbered] = []
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
