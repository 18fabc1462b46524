"""Sliding windows against their definition: contents, closing, lateness, retention, whatever the cuts."""

from collections import defaultdict
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.errors import DeclarationError
from millstream.tables.aggregates import Count, Last, Several, Sum
from millstream.tables.sketches import Distinct
from millstream.tables.sliding import SlidingTable, SlidingWindow
from millstream.tables.table import Range, iso
from tests.framework.unit.cuts import Cuts, Reader, Runner, cuts
from tests.framework.unit.test_windows import Event, events_of_a_partition, result

SIZE = 20
SECOND = timedelta(seconds=1)
slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
value = Several(
    Count(),
    Sum(of=lambda event: event.figure / 3),
    Last("last", of=lambda event: event.figure, at=lambda event: event.time),
    Distinct(of=lambda event: event.figure, exact=3),
)

# Few times, so that many lie just `SIZE` apart.
coarse = st.lists(
    st.builds(
        Event, st.sampled_from("ab"), st.integers(0, 6).map(lambda tens: tens * 10.0), st.integers(-9, 9)
    ),
    min_size=5,
    max_size=40,
)
# One after the other: of alternatives hypothesis hardly tries the last.
of_each_kind = pytest.mark.parametrize("kind", [events_of_a_partition, coarse], ids=["fine", "coarse"])


class Expected:
    """What windows hold, straight from the definition, one event after the other."""

    def __init__(self, events: list[Event], grace: int) -> None:
        self.held: dict[str, list[Event]] = defaultdict(list)
        self.late: list[int] = []
        self.final: list[tuple[int, SlidingWindow]] = []
        # By key and end: the offset of each event that changed the window, and what it was with that.
        self.changes: dict[tuple[str, float], dict[int, SlidingWindow]] = defaultdict(dict)
        self.watermark = 0.0
        for offset, event in enumerate(events):
            before, self.watermark = self.watermark, max(self.watermark, event.time)
            if event.time + grace < self.watermark:
                self.late.append(offset)
            else:
                self.held[event.key].append(event)
                for end in self.ends(event.key):
                    if event.time <= end < event.time + SIZE:
                        self.changes[event.key, end][offset] = self.window(event.key, end)
            closed = [
                (end, key)
                for key in self.held
                for end in self.ends(key)
                if before <= end + grace < self.watermark
            ]
            self.final += [(offset, self.window(key, end)) for end, key in sorted(closed)]

    def ends(self, key: str) -> list[float]:
        return sorted({event.time for event in self.held[key]})

    def window(self, key: str, end: float) -> SlidingWindow:
        held = [event for event in self.held[key] if event.time <= end < event.time + SIZE]
        panes = [[event for event in held if event.time == time] for time in sorted({e.time for e in held})]
        return SlidingWindow(key, end - SIZE, end, self.merged(panes))

    @staticmethod
    def merged(panes: list[list[Event]]) -> dict[str, Any]:
        """Sums of floats depend on their order: in a pane by offset, then the panes by time."""
        if len(panes) == 1:
            return result(value, panes[0])
        total = value.zero()
        for pane in panes:
            one = value.zero()
            for event in pane:
                one = value.add(one, event)
            total = value.merge(total, one)
        return value.result(total)


@of_each_kind
@given(data=st.data(), how=cuts, grace=st.sampled_from([0, 5, 40]))
@slow
async def test_windows_are_told_as_they_are_defined(
    kind: st.SearchStrategy[list[Event]],
    data: st.DataObject,
    how: Cuts,
    grace: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    events = data.draw(kind)
    table = SlidingTable("w", size=SIZE * SECOND, value=value, grace=grace * SECOND)
    runner = Runner(tmp_path_factory.mktemp("sliding"), table)
    final: list[tuple[int, SlidingWindow]] = []
    batches: list[tuple[range, list[tuple[int, SlidingWindow]]]] = []
    async for commit in runner.run(events, lambda event: event.time, how):
        told: list[tuple[int, SlidingWindow]] = []
        batches.append((range(commit.first, commit.first + len(commit.events)), told))

        def closed(window: SlidingWindow, commit: Any = commit) -> None:
            final.append((commit.offset, window))

        def changed(window: SlidingWindow, commit: Any = commit, told: Any = told) -> None:
            told.append((commit.offset, window))

        windows = table.open(commit, changed=changed, closed=closed)
        taken = [windows.add(event.key, event, at=event.time) for event in commit]
        assert taken.count(False) == len(commit.late_ones)
    right = Expected(events, grace)
    assert final == right.final
    assert [offset for _, offset in runner.late] == right.late
    for offsets, told in batches:
        expected = [
            (max(changes), changes[max(changes)])
            for window in right.changes.values()
            if (changes := {offset: one for offset, one in window.items() if offset in offsets})
        ]
        assert told == sorted(expected, key=lambda pair: (pair[0], pair[1].end))
    if not events:
        return
    reader = Reader(runner.state)
    for name in {event.key for event in events}:
        assert table.query([reader], name, Range())["windows"] == [
            _shown(right.window(name, end)) for end in right.ends(name)
        ]
    assert table.info([reader])["late"] == len(right.late)
    runner.state.close()


def _shown(window: SlidingWindow) -> dict[str, Any]:
    return {"start": iso(window.start), "end": iso(window.end), **window.result}


@of_each_kind
@given(data=st.data(), how=cuts, grace=st.sampled_from([0, 10]), keep=st.sampled_from([0, 30]))
@slow
async def test_what_is_not_kept_leaves_disk_and_log(
    kind: st.SearchStrategy[list[Event]],
    data: st.DataObject,
    how: Cuts,
    grace: int,
    keep: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    events = data.draw(kind)
    table = SlidingTable("w", size=SIZE * SECOND, value=value, grace=grace * SECOND, keep=keep * SECOND)
    runner = Runner(tmp_path_factory.mktemp("sliding"), table)
    await runner.fill(table, events, how)
    if not events:
        return
    right = Expected(events, grace)
    kept = {
        (end, key)
        for key in right.held
        for end in right.ends(key)
        if end + SIZE + max(keep, grace) >= right.watermark
    }
    rows = {key for key, _ in runner.state.scan_committed(b"w\0", b"w\1")} - {table.late_key}
    assert rows == {table.row_key(key, end) for end, key in kept}
    assert {table.pane(key) for key, _ in runner.state.scan_committed(b"w\1", b"w\2")} == kept
    # A window is asked for while it is kept, and then it is whole.
    reader = Reader(runner.state)
    for name in right.held:
        assert table.query([reader], name, Range())["windows"] == [
            _shown(right.window(name, end))
            for end in right.ends(name)
            if end + max(keep, grace) >= right.watermark
        ]
    runner.state.close()


async def test_queries_go_over_partitions_and_have_a_range(tmp_path: Any) -> None:
    table = SlidingTable("w", size=SIZE * SECOND, value=Count())
    readers = []
    for number, times in enumerate([[100.5, 110, 150], [105, 110]]):
        runner = Runner(tmp_path / str(number), table)
        events = [Event("a", time, 0) for time in times]
        await runner.fill(table, events, Cuts([2], 1, 9, lose_disk=False))
        readers.append(Reader(runner.state))
    answer = table.query(readers, "a", Range())
    assert [(window["end"][17:], window["count"]) for window in answer["windows"]] == [
        ("40.500000Z", 1),
        ("45Z", 2),
        ("50Z", 4),
        ("30Z", 1),
    ]
    assert answer == msgspec.json.decode(msgspec.json.encode(answer))
    some = table.query(readers, "a", Range(start=105, end=150, limit=1))
    assert some == {"windows": answer["windows"][1:2], "next": iso(110)}
    assert table.query(readers, "b", Range()) == {"windows": []}
    for reader in readers:
        reader.state.close()


def test_lengths_of_time_are_whole() -> None:
    with pytest.raises(
        DeclarationError, match=r"window of table 'w'.* is not a positive number of whole seconds"
    ):
        SlidingTable("w", size=SECOND / 2, value=Count())
    with pytest.raises(DeclarationError, match=r"grace of table 'w'.* is not a whole number of seconds"):
        SlidingTable("w", size=SECOND, value=Count(), grace=SECOND / 2)
