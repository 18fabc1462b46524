"""Files as one stream of records, with statistics and bad lines."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from millstream.engine.source import Source
from millstream.sources.files import read
from millstream.sources.formats import Rows
from millstream.sources.lines import Reading
from millstream.sources.record import BadLine, Record, SourceError
from millstream.sources.send import Sent

# Number of bad lines that the summary quotes.
SHOWN = 5
# Size limit of a bad line: what a topic accepts by default (max.message.bytes), with the record's overhead.
LARGEST = 1_000_000


class Loading:
    """Files as one stream of records, with statistics.

    Args:
        files: the files, in order.
        form: their format.
        source: the source topic of that format.
        limit: number of lines after which to stop; None for all.
        keep_bad: whether a bad line is a record, too, so that it becomes a dead letter.

    Attributes:
        lines: number of lines read; of a CSV file, rows without the header.
        bad: number of bad lines by the first words of their reason.
        first: the first bad lines, for people.
        readings: the progress of each file.
        error: the error that ended the reading early.
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        form: Rows,
        source: Source,
        limit: int | None,
        *,
        keep_bad: bool = True,
    ) -> None:
        self._files, self._form, self._source, self._limit = files, form, source, limit
        self._keep_bad = keep_bad
        self.lines = 0
        self.bad = Counter[str]()
        self.first: list[str] = []
        self.readings: dict[Path, Reading] = {}
        self.error: SourceError | None = None

    def records(self) -> Iterator[Record]:
        """Yield one record per line.

        A bad line is yielded unchanged, without a key; one that Kafka would reject is only counted.
        """
        moment = 0.0
        try:
            for file in self._files:
                reading = self.readings[file] = Reading()
                for item in read(file, self._form, self._source, reading):
                    if self.lines == self._limit:
                        return
                    # Counted when the next line is requested: when sending stops, the last line taken is not
                    # sent.
                    if isinstance(item, Record):
                        moment = item.event_time
                        yield item
                    else:
                        if self._keep_bad and len(item.raw) <= LARGEST:
                            yield Record(None, item.raw, moment)
                        self._note(file, item)
                    self.lines += 1
        except SourceError as exc:
            self.error = exc

    def _note(self, file: Path, line: BadLine) -> None:
        fits = len(line.raw) <= LARGEST
        self.bad[line.reason.partition(": ")[0] if fits else "too large for Kafka, not sent"] += 1
        if len(self.first) < SHOWN:
            self.first.append(f"{file}, line {line.line}: {line.reason[:200]}")

    def faults(self) -> list[str]:
        """Return the numbers of bad lines by reason, and the first bad lines, for people."""
        return [
            *(f"  {count:,} x {reason}" for reason, count in self.bad.most_common()),
            *(f"  {text}" for text in self.first),
        ]

    def position(self) -> int:
        """Return the number of bytes read of all files on disk."""
        return sum(reading.position for reading in self.readings.values())

    def summary(self, sent: Sent, topic: str) -> str:
        """Return a summary of what was read and sent, and of the bad lines."""
        pace = sent.records / sent.seconds
        parts = [
            f"read {self.lines:,} lines, sent {sent.records:,} records to {topic} "
            f"in {sent.seconds:.1f} s ({pace:,.0f}/s), bad lines: {self.bad.total():,}"
        ]
        if self.bad:
            parts.append(
                "bad lines were sent as they are, without a key, for the dead-letter topic:"
                if self._keep_bad
                else "bad lines were not sent:"
            )
            parts += self.faults()
        for file, reading in self.readings.items():
            latin = f", but {reading.latin1:,} lines as latin-1" if reading.latin1 else ""
            parts.append(f"{file}: read as UTF-8{latin}")
        return "\n".join(parts)
