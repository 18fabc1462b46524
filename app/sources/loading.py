"""Files as one stream of records, with an account of what was in them."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from app.sources.files import read
from app.sources.lines import Reading
from app.sources.record import BadLine, Record, SourceError
from app.sources.send import Sent

# Bad lines that the summary quotes.
SHOWN = 5
# Bytes of a bad line that a topic takes by default (max.message.bytes), with the record's frame.
LARGEST = 1_000_000


class Loading:
    """Files as one stream of records, and an account of it.

    Attributes:
        lines: lines read; of a CSV file, rows without the header.
        bad: number of bad lines by the first words of their reason.
        first: the first bad lines, for people.
        readings: how each file was read so far.
        error: what ended the reading early.
    """

    def __init__(self, files: tuple[Path, ...], mapping: str, limit: int | None) -> None:
        self._files, self._mapping, self._limit = files, mapping, limit
        self.lines = 0
        self.bad = Counter[str]()
        self.first: list[str] = []
        self.readings: dict[Path, Reading] = {}
        self.error: SourceError | None = None

    def records(self) -> Iterator[Record]:
        """Yield one record for each line.

        A bad line comes as it is, without a key; one that Kafka would refuse is only counted.
        """
        moment = 0.0
        try:
            for file in self._files:
                reading = self.readings[file] = Reading()
                for item in read(file, self._mapping, reading):
                    if self.lines == self._limit:
                        return
                    # Counted when the next is asked for: who stops takes one that is not sent.
                    if isinstance(item, Record):
                        moment = item.event_time
                        yield item
                    else:
                        if len(item.raw) <= LARGEST:
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

    def position(self) -> int:
        """Return the bytes read of all files, as they lie on disk."""
        return sum(reading.position for reading in self.readings.values())

    def summary(self, sent: Sent, topic: str) -> str:
        """Say what was read and sent, and what was wrong with it."""
        pace = sent.records / sent.seconds
        parts = [
            f"read {self.lines:,} lines, sent {sent.records:,} records to {topic} "
            f"in {sent.seconds:.1f} s ({pace:,.0f}/s), bad lines: {self.bad.total():,}"
        ]
        if self.bad:
            parts.append("bad lines were sent as they are, without a key, for the dead-letter topic:")
            parts += [f"  {count:,} x {reason}" for reason, count in self.bad.most_common()]
            parts += [f"  {text}" for text in self.first]
        for file, reading in self.readings.items():
            latin = f", but {reading.latin1:,} lines as latin-1" if reading.latin1 else ""
            parts.append(f"{file}: read as UTF-8{latin}")
        return "\n".join(parts)
