"""Values of keys against their definition: what they hold, when they are forgotten, whatever the cuts."""

from collections import defaultdict
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.errors import DeclarationError
from millstream.tables.aggregates import Count, LastN, Several, Sum
from millstream.tables.sketches import Distinct, TopN
from millstream.tables.table import Range, iso
from millstream.tables.values import ValueTable
from tests.framework.unit.cuts import Cuts, Reader, Runner, cuts
from tests.framework.unit.test_sketches import figure, item
from tests.framework.unit.test_windows import Event, events_of_a_partition, result

SECOND = timedelta(seconds=1)
slow = settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
profile = Several(
    Count("actions"),
    Sum("spend", of=lambda event: event.figure / 3),
    LastN("latest", 3, of=figure, at=lambda event: event.time),
    TopN("pages", 2, of=item, capacity=4),
    Distinct("pages_seen", of=figure, exact=3),
)


class Expected:
    """What keys hold, straight from the definition, one event after the other."""

    def __init__(self, events: list[Event], keep: int | None) -> None:
        self.held: dict[str, list[Event]] = {}
        self.late: list[int] = []
        # By offset of the event: what its key shows with it.
        self.shown: dict[int, tuple[str, dict[str, Any]]] = {}
        self.watermark = 0.0
        for offset, event in enumerate(events):
            self.watermark = max(self.watermark, event.time)
            self.held = {
                key: held
                for key, held in self.held.items()
                if keep is None or max(one.time for one in held) + keep > self.watermark
            }
            if event.key not in self.held and keep is not None and event.time + keep <= self.watermark:
                self.late.append(offset)
                continue
            self.held.setdefault(event.key, []).append(event)
            self.shown[offset] = event.key, result(profile, self.held[event.key])


@given(events=events_of_a_partition, how=cuts, keep=st.sampled_from([None, 7, 30]))
@slow
async def test_values_are_of_all_events_since_the_key_was_last_forgotten(
    events: list[Event], how: Cuts, keep: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = ValueTable("v", value=profile, keep=None if keep is None else keep * SECOND)
    runner = Runner(tmp_path_factory.mktemp("values"), table)
    right = Expected(events, keep)
    batches: list[tuple[list[Any], dict[str, int]]] = []
    async for commit in runner.run(events, lambda event: event.time, how):
        told: list[tuple[int, tuple[str, dict[str, Any]]]] = []

        def changed(key: str, shown: dict[str, Any], commit: Any = commit, told: Any = told) -> None:
            told.append((commit.offset, (key, shown)))

        last: dict[str, int] = {}
        values = table.open(commit, changed=changed)
        for event in commit:
            values.add(event.key, event, at=event.time)
            if commit.offset in right.shown:
                last[event.key] = commit.offset
        batches.append((told, last))
    for told, last in batches:
        assert told == [(offset, right.shown[offset]) for offset in sorted(last.values())]
    assert sorted(offset for _, offset in runner.late) == right.late
    if not events:
        return
    rows = {key for key, _ in runner.state.scan_committed(b"v\0", b"v\1")} - {table.late_key}
    assert rows == {table.row_key(key) for key in right.held}
    checks = {key for key, _ in runner.state.scan_committed(b"v\1", b"v\2")}
    assert {table.checked(key) for key in checks} >= (set() if keep is None else right.held.keys())
    assert not [key for key in checks if key < table.check_key(right.watermark - (keep or 0))]
    reader = Reader(runner.state)
    for name in {event.key for event in events}:
        held = right.held.get(name)
        assert table.query([reader], name, Range()) == (
            held and {"last_event": iso(max(one.time for one in held)), "value": result(profile, held)}
        )
    late = {} if keep is None else {"keep_seconds": keep, "late": len(right.late)}
    assert table.info([reader]) == late
    runner.state.close()


async def test_a_key_in_several_partitions_is_put_together(tmp_path: Any) -> None:
    table = ValueTable("v", value=profile)
    readers = []
    for number, events in enumerate([[Event("a", 3.0, 1), Event("a", 1.0, 2)], [Event("a", 2.0, 5)], []]):
        runner = Runner(tmp_path / str(number), table)
        await runner.fill(table, [*events, Event("b", 3.0, 0)], Cuts([2], 1, 9, lose_disk=False))
        readers.append(Reader(runner.state))
    answer = table.query(readers, "a", Range())
    assert answer is not None
    assert answer["last_event"] == iso(3.0)
    assert (answer["value"]["actions"], answer["value"]["latest"]) == (3, [1, 5, 2])
    assert table.query(readers, "c", Range()) is None
    for reader in readers:
        reader.state.close()


@given(events=events_of_a_partition, at=st.integers(0, 60), n=st.integers(1, 5))
def test_last_n_are_the_latest_by_event_time(events: list[Event], at: int, n: int) -> None:
    aggregate = LastN("latest", n, of=figure, at=lambda event: event.time)
    by_time: dict[float, list[int]] = defaultdict(list)
    for event in events:
        by_time[event.time].append(event.figure)
    newest_first = [one for time in sorted(by_time, reverse=True) for one in reversed(by_time[time])]
    assert result(aggregate, events) == {"latest": newest_first[:n]}
    halves = []
    for part in (events[:at], events[at:]):
        total = aggregate.zero()
        for event in part:
            total = aggregate.add(total, event)
        halves.append(total)
    assert aggregate.result(aggregate.merge(*halves)) == {"latest": newest_first[:n]}


def test_what_is_kept_is_kept_for_a_while() -> None:
    with pytest.raises(DeclarationError, match="keep of table 'v'"):
        ValueTable("v", value=Count(), keep=SECOND * 0)
