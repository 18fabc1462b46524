"""What must come out of the events, in plain Python: each key's times sorted, and cut."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

import orjson

from bench.windows.lengths import GAP, GRACE, SIZE, STEP
from millstream.kafka.partitioner import partition_for
from millstream.kafka.reading import records
from millstream.settings import Settings
from millstream.sources.record import Record

PARTITIONS = Settings.model_fields["partitions"].default
EMPTY = ("windows.dead-letters", "windows.late")
MILLI = timedelta(milliseconds=1)


class Piece(NamedTuple):
    """One window of a key, in milliseconds.

    Attributes:
        start: as it is told.
        end: as it is told.
        due: event time at which it closes.
        first: index of the first of the key's times that is in it.
        after: index after the last.
    """

    start: int
    end: int
    due: int
    first: int
    after: int


Cut = Callable[[Sequence[int]], Iterator[Piece]]
"""From a key's times, sorted, to its windows."""


def hopping(times: Sequence[int], every: timedelta = STEP) -> Iterator[Piece]:
    """Yield the windows of `SIZE` that begin every step and hold a time."""
    size, step, grace = SIZE // MILLI, every // MILLI, GRACE // MILLI
    for start in range(((times[0] - size) // step + 1) * step, times[-1] + 1, step):
        end = start + size
        first, after = bisect_left(times, start), bisect_left(times, end)
        if first < after:
            yield Piece(start, end, end + grace, first, after)


def tumbling(times: Sequence[int]) -> Iterator[Piece]:
    """Yield the windows of `SIZE` that hold a time."""
    return hopping(times, SIZE)


def sessions(times: Sequence[int]) -> Iterator[Piece]:
    """Yield the stretches of times that lie less than `GAP` apart."""
    gap, grace = GAP // MILLI, GRACE // MILLI
    breaks = [n for n in range(1, len(times)) if times[n] - times[n - 1] >= gap]
    for first, after in pairwise([0, *breaks, len(times)]):
        end = times[after - 1]
        yield Piece(times[first], end, end + gap + grace, first, after)


Window = tuple[str, int, int]
"""Key, start and end."""
Figures = tuple[int, int, int, int]
"""Number, sum, least and largest value."""


@dataclass
class Expected:
    """What must be in the output topics.

    Attributes:
        cut: which windows there are.
        events: time and value of each event, by key.
        newest: largest event time, by partition.
    """

    cut: Cut
    events: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def outputs(self) -> int:
        """Number of windows that close."""
        return sum(1 for _ in self.closed())

    @property
    def rows(self) -> int:
        """Number of windows, open ones too: all are kept to the end."""
        return sum(1 for _ in self._pieces())

    def watch(self, source: Iterable[Record], now: float) -> Iterator[Record]:  # noqa: ARG002 (the protocol's)
        """Pass records on, and take note of what must become of them."""
        for record in source:
            event = orjson.loads(record.value or b"")
            key, time = event["key"], event["timestamp"]
            self.events[key].append((time, event["value"]))
            partition = partition_for(key.encode(), PARTITIONS)
            self.newest[partition] = max(self.newest[partition], time)
            yield record

    def closed(self) -> Iterator[tuple[Window, Figures]]:
        """Yield the windows that close."""
        for key, piece, values in self._pieces():
            if piece.due <= self.newest[partition_for(key.encode(), PARTITIONS)]:
                inside = values[piece.first : piece.after]
                yield (key, piece.start, piece.end), (len(inside), sum(inside), min(inside), max(inside))

    def _pieces(self) -> Iterator[tuple[str, Piece, list[int]]]:
        for key, events in self.events.items():
            times, values = map(list, zip(*sorted(events), strict=True))
            for piece in self.cut(times):
                yield key, piece, values

    async def problems(self, kafka: str, prefix: str) -> list[str]:
        """Compare with the topics behind a prefix; no line is no difference."""
        counts = {name: sum([1 async for _ in records(kafka, f"{prefix}{name}")]) for name in EMPTY}
        found = [f"{name}: {count}, expected none" for name, count in counts.items() if count]
        told = [_read(record.value) async for record in records(kafka, f"{prefix}windows.results")]
        return found + self.differences(told)

    def differences(self, told: Sequence[tuple[Window, Figures]]) -> list[str]:
        """Compare with what was told; no line is no difference."""
        left = dict(told)
        more, missing, wrong = len(told) - len(left), 0, 0
        for window, figures in self.closed():
            if window not in left:
                missing += 1
            elif left.pop(window) != figures:
                wrong += 1
        more += len(left)
        if missing or more or wrong:
            return [f"windows: {missing} missing, {more} too many, {wrong} wrong"]
        return []


def _read(value: bytes) -> tuple[Window, Figures]:
    result = orjson.loads(value)
    start, end = (round(result[name] * 1000) for name in ("start", "end"))
    return (result["key"], start, end), (result["count"], result["sum"], result["min"], result["max"])
