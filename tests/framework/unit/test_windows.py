"""Windows against their definition: closing, lateness and retention, however the events are cut."""

import itertools
from collections import defaultdict
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.errors import DeclarationError
from millstream.tables.aggregates import (
    Aggregate,
    Count,
    First,
    Last,
    LastN,
    Max,
    Mean,
    Min,
    Several,
    Sum,
    Variance,
)
from millstream.tables.table import Range
from millstream.tables.windows import Window, WindowTable
from tests.framework.unit.cuts import Cuts, Reader, Runner, cuts


class Event(NamedTuple):
    key: str
    time: float
    figure: int


events_in_disorder = st.lists(
    st.builds(
        Event,
        st.sampled_from(["a", "b", "a\0", "", "a\0\0\0\0\0\0\0\0\0"]),
        st.integers(0, 3000).map(lambda tenths: tenths / 10),
        st.integers(-9, 9),
    ),
    max_size=60,
)


def _spread(steps: list[tuple[str, int, int]]) -> list[Event]:
    times = itertools.accumulate(step for _, step, _ in steps)
    return [
        Event(key, float(max(0, time - back)), i)
        for i, (time, (key, _, back)) in enumerate(zip(times, steps, strict=True))
    ]


# By key: seconds since the event before it, and how far it comes out of order.
nearly_in_order = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from([0, 1, 5, 9, 15, 25]), st.sampled_from([0, 0, 3, 20, 40])
    ),
    max_size=60,
).map(_spread)
events_of_a_partition = events_in_disorder | nearly_in_order

parts = [
    Count(),
    Sum(of=lambda event: event.figure),
    Min(of=lambda event: event.figure),
    Max(of=lambda event: event.figure),
    Mean(of=lambda event: event.figure),
    Variance(of=lambda event: event.figure),
    First("first", of=lambda event: event.figure, at=lambda event: event.time),
    Last("last", of=lambda event: event.figure, at=lambda event: event.time),
    LastN("latest", 3, of=lambda event: event.figure, at=lambda event: event.time),
]
everything = Several(*parts)

slow = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIZES = [(60, 60), (60, 20), (30, 10)]


class Listed:
    """All figures, in their order: what is put together in another order shows."""

    type = list[int]

    def zero(self) -> list[int]:
        return []

    def add(self, total: list[int], value: Event) -> list[int]:
        return [*total, value.figure]

    def merge(self, total: list[int], more: list[int]) -> list[int]:
        total.extend(more)
        return total

    def result(self, total: list[int]) -> dict[str, Any]:
        return {"listed": list(total)}


class Expected:
    """What windows hold, straight from the definition, one event after the other."""

    def __init__(self, events: list[Event], size: int, step: int, grace: int) -> None:
        self.held: dict[tuple[int, str], list[tuple[int, Event]]] = defaultdict(list)
        self.late: list[int] = []
        self.final: list[tuple[int, str, int, list[Event]]] = []
        watermark = 0.0
        for offset, event in enumerate(events):
            before, watermark = watermark, max(watermark, event.time)
            pane = int(event.time // step) * step
            if pane + step + grace <= watermark:
                self.late.append(offset)
            else:
                for start in range(pane + step - size, pane + step, step):
                    self.held[start, event.key].append((offset, event))
            self.final += [
                (start, key, offset, [event for _, event in held])
                for (start, key), held in sorted(self.held.items())
                if before < start + size + grace <= watermark
            ]
        self.watermark = watermark


def result(aggregate: Aggregate[Any, Any], events: list[Event]) -> dict[str, Any]:
    total = aggregate.zero()
    for event in events:
        total = aggregate.add(total, event)
    return aggregate.result(total)


@pytest.mark.parametrize(("size", "step"), SIZES)
@given(events=events_of_a_partition, how=cuts, grace=st.sampled_from([0, 15, 60]))
@slow
async def test_windows_close_once_with_what_was_in_time(
    events: list[Event],
    how: Cuts,
    grace: int,
    size: int,
    step: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    seconds = timedelta(seconds=1)
    value = Several(Count(), Listed())
    table = WindowTable("w", size=size * seconds, step=step * seconds, value=value, grace=grace * seconds)
    runner = Runner(tmp_path_factory.mktemp("windows"), table)
    final: list[tuple[int, str, int, dict[str, Any]]] = []
    async for commit in runner.run(events, lambda event: event.time, how):

        def closed(window: Window, commit: Any = commit) -> None:
            final.append((window.start, window.key, commit.offset, window.result))

        windows = table.open(commit, closed=closed)
        for event in commit:
            windows.add(event.key, event, at=event.time)
    right = Expected(events, size, step, grace)
    assert final == [
        (start, key, offset, result(value, sorted(held, key=lambda event: event.time // step)))
        for start, key, offset, held in sorted(right.final, key=_order)
    ]
    assert [offset for _, offset in runner.late] == right.late
    reader = Reader(runner.state) if events else None
    if reader is not None:
        for name in {event.key for event in events}:
            answer = table.query([reader], name, Range(start=-1000))
            assert [window["count"] for window in answer["windows"]] == [
                len(held) for (_, key), held in sorted(right.held.items()) if key == name
            ]
        assert table.info([reader])["late"] == len(right.late)
        runner.state.close()


@pytest.mark.parametrize(("size", "step"), SIZES)
@given(events=events_of_a_partition, how=cuts)
@slow
async def test_an_update_holds_what_came_up_to_its_origin(
    events: list[Event], how: Cuts, size: int, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seconds = timedelta(seconds=1)
    last = Last("last", of=lambda event: event.figure, at=lambda event: event.time)
    value = Several(Count(), Listed(), last)
    table = WindowTable("w", size=size * seconds, step=step * seconds, value=value)
    runner = Runner(tmp_path_factory.mktemp("windows"), table)
    told: list[tuple[int, Window]] = []
    async for commit in runner.run(events, lambda event: event.time, how):

        def changed(window: Window, commit: Any = commit) -> None:
            told.append((commit.offset, window))

        windows = table.open(commit, changed=changed)
        for event in commit:
            windows.add(event.key, event, at=event.time)
    for offset, window in told:
        held = [
            event
            for event in events[: offset + 1]
            if event.key == window.key and window.start <= event.time < window.end
        ]
        # Panes are put together in order of their time.
        assert window.result == result(value, sorted(held, key=lambda event: event.time // step))
    ends = {(event.key, int(event.time // step) * step + step) for event in events}
    assert {(window.key, window.end) for _, window in told} == ends
    if events:
        runner.state.close()


@pytest.mark.parametrize(("size", "step"), SIZES[1:])
@given(events=events_of_a_partition, how=cuts)
@slow
async def test_sums_of_floats_do_not_depend_on_the_cuts(
    events: list[Event], how: Cuts, size: int, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def of(event: Event) -> float:
        return event.figure / 7

    seconds = timedelta(seconds=1)
    value = Several(Sum(of=of), Mean(of=of), Variance(of=of))
    finals: list[list[Window]] = []
    for cut in (how, Cuts([1], 1, 1, lose_disk=False)):
        table = WindowTable("w", size=size * seconds, step=step * seconds, value=value, grace=30 * seconds)
        runner = Runner(tmp_path_factory.mktemp("windows"), table)
        final: list[Window] = []
        async for commit in runner.run(events, lambda event: event.time, cut):
            windows = table.open(commit, closed=final.append)
            for event in commit:
                windows.add(event.key, event, at=event.time)
        finals.append([window._replace(total=None) for window in final])
        for window in final:  # nothing is late any more for what has closed
            rows = Range(start=window.start, end=window.start + 1)
            (shown,) = table.query([Reader(runner.state)], window.key, rows)["windows"]
            assert {name: shown[name] for name in window.result} == window.result
        if events:
            runner.state.close()
    assert finals[0] == finals[1]


def _order(final: tuple[int, str, int, list[Event]]) -> tuple[int, int, str]:
    start, key, offset, _ = final
    return offset, start, key


@given(events=events_of_a_partition, how=cuts)
@slow
async def test_aggregates_do_not_depend_on_the_cuts(
    events: list[Event], how: Cuts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = WindowTable("w", size=timedelta(seconds=60), value=everything)
    runner = Runner(tmp_path_factory.mktemp("windows"), table)
    shown: dict[tuple[int, str], dict[str, Any]] = {}
    async for commit in runner.run(events, lambda event: event.time, how):

        def changed(window: Window) -> None:
            shown[window.start, window.key] = window.result

        windows = table.open(commit, changed=changed)
        for event in commit:
            windows.add(event.key, event, at=event.time)
    held: dict[tuple[int, str], list[Event]] = defaultdict(list)
    for event in events:
        held[int(event.time // 60) * 60, event.key].append(event)
    assert shown == {window: result(everything, part) for window, part in held.items()}
    if events:
        runner.state.close()


@given(events=events_of_a_partition, how=cuts, keep=st.sampled_from([0, 30, 100]))
@slow
async def test_what_is_not_kept_leaves_disk_and_log(
    events: list[Event], how: Cuts, keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seconds = timedelta(seconds=1)
    table = WindowTable(
        "w", size=30 * seconds, step=10 * seconds, value=Count(), grace=10 * seconds, keep=keep * seconds
    )
    runner = Runner(tmp_path_factory.mktemp("windows"), table)
    await runner.fill(table, events, how)
    if not events:
        return
    right = Expected(events, 30, 10, 10)
    kept = {
        table.row_key(key, start)
        for start, key in Expected(events, 10, 10, 10).held
        if start + 30 + max(keep, 10) > right.watermark
    }
    rows = {key for key, _ in runner.state.scan_committed(b"w\0", b"w\1")} - {table.late_key}
    assert rows == kept
    found = {table.pane(key) for key, _ in runner.state.scan_committed(b"w\1", b"w\2")}
    assert {table.row_key(key, start) for start, key in found} == kept
    runner.state.close()


@pytest.mark.parametrize("aggregate", [*parts, everything], ids=lambda part: type(part).__name__)
@given(events=events_of_a_partition, at=st.integers(0, 60))
def test_stretches_merge_to_the_whole(aggregate: Any, events: list[Event], at: int) -> None:
    halves = []
    for part in (events[:at], events[at:]):
        total = aggregate.zero()
        for event in part:
            total = aggregate.add(total, event)
        halves.append(total)
    merged = aggregate.result(aggregate.merge(*halves))
    whole = result(aggregate, events)
    assert merged.keys() == whole.keys()
    for field, figure in whole.items():
        assert merged[field] == (figure if figure is None else pytest.approx(figure))


def test_lengths_of_time_are_whole() -> None:
    second = timedelta(seconds=1)
    with pytest.raises(DeclarationError, match="positive number of whole seconds"):
        WindowTable("t", size=second * 1.5, value=Count())
    with pytest.raises(DeclarationError, match="is not a multiple of the step"):
        WindowTable("t", size=second * 10, step=second * 3, value=Count())
    with pytest.raises(DeclarationError, match=r"grace of table 't'.* is not a whole number of seconds"):
        WindowTable("t", size=second, value=Count(), grace=second / 2)
