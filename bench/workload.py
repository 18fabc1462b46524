"""What a workload is: its events, its topics and its checker."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bench import expected
from bench.windows import events as measures
from bench.windows import expected as windows
from bench.windows.lengths import GAP, GRACE, SIZE, STEP
from bench.yahoo import events as ads
from bench.yahoo import expected as yahoo
from millstream.sources.record import Record


class Expected(Protocol):
    """What must come out of a run.

    Attributes:
        outputs: number of records that must be in the topic `output`, if none comes twice.
        rows: number of keys and windows that the state holds at the end; 0 if its size is not looked at.
    """

    @property
    def outputs(self) -> int:
        """See above."""
        ...

    @property
    def rows(self) -> int:
        """See above."""
        ...

    def watch(self, source: Iterable[Record], now: float) -> Iterator[Record]:
        """Pass records on, and take note of what must become of them."""
        ...

    async def problems(self, kafka: str, prefix: str) -> list[str]:
        """Compare with the topics behind a prefix; no line is no difference."""
        ...


@dataclass(frozen=True)
class Workload:
    """A job that all contestants do.

    Attributes:
        name: for the command line.
        app: module with Millstream's app; its topics are everybody's.
        source: topic that is drained.
        output: topic whose records show how far a contestant is that commits late.
        others: the other topics that it sends to.
        events: makes up the first so many events by a seed; fewer are a prefix of more.
        expected: makes the checker.
        facts: what the events are, in a line.
        checked: what the checker looks at, in a line.
    """

    name: str
    app: str
    source: str
    output: str
    others: tuple[str, ...]
    events: Callable[[int, int], Iterator[Record]]
    expected: Callable[[], Expected]
    facts: str
    checked: str


_made = expected.WORKLOAD

ACTIVITY = Workload(
    name="activity",
    app="app",
    source="activity.raw",
    output="activity.enriched",
    others=("activity.page-counts", "activity.dead-letters"),
    events=expected.events,
    expected=expected.Expected,
    facts=(
        f"made up, {_made['rate']:,} a second of event time, {_made['duplicates']:.0%} repeated, "
        f"{_made['invalid']:.0%} invalid, {_made['late']:.0%} late, {_made['users']:,} users, "
        f"{_made['pages']:,} pages"
    ),
    checked=(
        "each valid event enriched once and rightly, each invalid one a dead letter, the views of each page "
        "in each minute; nobody sends the sales, which are not checked"
    ),
)

ADS = Workload(
    name="ads",
    app="bench.yahoo.app",
    source="ads.raw",
    output="ads.counts",
    others=("ads.dead-letters",),
    events=ads.events,
    expected=yahoo.Expected,
    facts=(
        f"the Yahoo Streaming Benchmark's ad events, {ads.RATE:,} a second of event time, "
        f"{ads.DUPLICATES:.0%} repeated, one in three a view, 100 campaigns with ten ads each"
    ),
    checked="the distinct views of each campaign in each ten seconds",
)


def _windows(
    kind: str, cut: windows.Cut, lengths: str, *, suffix: str = "", keys: int = measures.KEYS
) -> Workload:
    return Workload(
        name=kind + suffix,
        app=f"bench.windows.{kind}",
        source="windows.raw",
        output="windows.results",
        others=("windows.dead-letters", "windows.late"),
        events=partial(measures.events, keys=keys),
        expected=partial(windows.Expected, cut),
        facts=(
            f"made up, {measures.RATE:,} a second of event time, {keys:,} keys, up to "
            f"{GRACE} out of order; {lengths}, grace {GRACE}"
        ),
        checked="number, sum, least and largest value of each window that has closed, and of no other",
    )


_tumbling = partial(_windows, "tumbling", windows.tumbling, f"windows of {SIZE}")
_hopping = partial(_windows, "hopping", windows.hopping, f"windows of {SIZE} every {STEP}")

WINDOWS = (
    _tumbling(),
    _hopping(),
    _windows("sessions", windows.sessions, f"gaps of {GAP}"),
    _tumbling(suffix="-dense", keys=measures.DENSE_KEYS),
    _hopping(suffix="-dense", keys=measures.DENSE_KEYS),
)

WORKLOADS = {workload.name: workload for workload in (ACTIVITY, ADS, *WINDOWS)}
