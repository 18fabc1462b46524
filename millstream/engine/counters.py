"""The counters behind `/metrics`: plain numbers that change a few times a batch or commit.

A batch counts when it is committed: a batch that is dropped and computed again counts once.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from millstream.engine.tracing import Trace
from millstream.kafka.records import ConsumerRecord

# Upper bounds of the histograms, in seconds.
WORK_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
RESTORE_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

# So many records of a batch represent all of them in the histogram of latencies.
SAMPLES = 8


class Histogram:
    """Values, counted by ranges.

    Args:
        bounds: upper bounds of the ranges, in order; a last range has none.

    Attributes:
        counts: how many values each range has.
        sum: of all values.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value so many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class BatchStatistics:
    """The counts of one batch.

    Attributes:
        records: number of its records.
        events: valid events among them, duplicates too.
        again: events and dead letters among them that came from the retry queue.
        outputs: records sent, by topic.
        duplicates: events that a table has left out as duplicates, by its name.
        dead: dead letters, by code.
        late: events that came too late for a table, by its name; an event may be late for several windows.
        appended: when Kafka received some of the events, milliseconds since the epoch.
        traces: of the events that ask for it, by origin; see `millstream.engine.tracing`.
        step: how many events each of these represents, itself and those behind it; the last one the rest.
        seconds: time from the decoding of its records to the producer's having its outputs.
    """

    __slots__ = (
        "again",
        "appended",
        "dead",
        "duplicates",
        "events",
        "late",
        "outputs",
        "records",
        "seconds",
        "step",
        "traces",
    )

    def __init__(self) -> None:
        self.records = self.events = self.again = 0
        self.outputs: dict[str, int] = {}
        self.duplicates: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self.late: dict[str, int] = {}
        self.appended: list[int] = []
        self.traces: dict[int, Trace] = {}
        self.step = 1
        self.seconds: float | None = None

    def sample(self, records: Sequence[ConsumerRecord]) -> None:
        """Count the batch's valid events. Of a large batch a few represent all."""
        self.events = len(records)
        self.step = -(-self.events // SAMPLES) or 1
        self.appended = [record.timestamp for record in records[:: self.step]]


def add(counts: dict[str, int], name: str, more: int = 1) -> None:
    """Add to a count."""
    counts[name] = counts.get(name, 0) + more


def _add_all(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


@dataclass
class Counters:
    """The counters of a source topic since the worker has started; see `BatchStatistics`.

    Attributes:
        retries: how often a partition has dropped what was not committed and started again.
        takeovers: how often a partition was taken over and restored.
        restored: records of state logs that were read for that.
        batches: time of the batches, seconds.
        commits: time of the commits, from when their batches are delivered to the rows on disk, seconds.
        latency: time from when Kafka received an event to the confirmed commit, seconds.
        restores: time of the take-overs, seconds.
    """

    events: int = 0
    again: int = 0
    retries: int = 0
    takeovers: int = 0
    restored: int = 0
    outputs: dict[str, int] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    batches: Histogram = field(default_factory=lambda: Histogram(WORK_SECONDS))
    commits: Histogram = field(default_factory=lambda: Histogram(WORK_SECONDS))
    latency: Histogram = field(default_factory=lambda: Histogram(LATENCY_SECONDS))
    restores: Histogram = field(default_factory=lambda: Histogram(RESTORE_SECONDS))

    def committed(self, statistics: Iterable[BatchStatistics], seconds: float, now: float) -> None:
        """Count batches that were committed together.

        Args:
            statistics: theirs.
            seconds: how long the commit took.
            now: wall clock time, seconds since the epoch.
        """
        self.commits.observe(seconds)
        for one in statistics:
            self.events += one.events
            self.again += one.again
            _add_all(self.outputs, one.outputs)
            _add_all(self.duplicates, one.duplicates)
            _add_all(self.dead, one.dead)
            _add_all(self.late, one.late)
            if one.seconds is not None:
                self.batches.observe(one.seconds)
            left = one.events
            for appended in one.appended:
                self.latency.observe(max(0.0, now - appended / 1000), min(one.step, left))
                left -= one.step

    def taken_over(self, seconds: float, records: int) -> None:
        """Count a partition that was restored, from so many records of its state log."""
        self.takeovers += 1
        self.restored += records
        self.restores.observe(seconds)


CountersByTopic = defaultdict[str, Counters]
"""By source topic."""
