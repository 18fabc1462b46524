"""Joins against their definition: pairs, lone events, lateness, deletion, however the events are cut."""

import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.state.replica import Changes
from millstream.tables.joins import LEFT, RIGHT, JoinTable, One, Pair
from millstream.tables.table import Range, iso
from tests.framework.unit.cuts import Cuts, Reader, Runner, cuts
from tests.framework.unit.test_windows import Event, events_of_a_partition

BEFORE, AFTER = 5, 20
slow = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
sides = st.lists(st.sampled_from([LEFT, LEFT, RIGHT, RIGHT, LEFT + RIGHT]), min_size=1, max_size=7)

# Many lie at the very ends of each other's reach.
coarse = st.lists(
    st.builds(Event, st.sampled_from("ab"), st.integers(0, 20).map(lambda n: n * 5.0), st.integers(-9, 9)),
    max_size=40,
)
events_to_join = events_of_a_partition | coarse


def tenths(seconds: float) -> int:
    return round(seconds * 10)


@dataclass
class Held:
    """One event on one side; `number` counts what was added."""

    number: int
    side: bytes
    event: Event
    joined: bool = False

    @property
    def due(self) -> int:
        return tenths(self.event.time) + 10 * (AFTER if self.side == LEFT else BEFORE)

    @property
    def one(self) -> One[int]:
        return One(self.event.key, self.number, self.event.time)


class Expected:
    """What a join tells, straight from the definition, one event after the other."""

    def __init__(self, events: list[Event], kinds: list[bytes], grace: int) -> None:
        self.waiting: list[Held] = []
        self.pairs: list[tuple[int, Pair[int, int]]] = []
        self.alone: list[tuple[int, bytes, One[int]]] = []
        self.late: list[int] = []
        self.watermark = 0
        number = itertools.count()
        for offset, (event, kind) in enumerate(zip(events, kinds, strict=True)):
            self.watermark = max(self.watermark, tenths(event.time))
            for side in map(bytes, zip(kind, strict=True)):
                held = Held(next(number), side, event)
                if tenths(event.time) + 10 * grace < self.watermark:
                    self.late.append(offset)
                    continue
                for other in sorted(self.waiting, key=lambda other: other.event.time):
                    if other.side != side and other.event.key == event.key:
                        left, right = (held, other) if side == LEFT else (other, held)
                        apart = tenths(right.event.time) - tenths(left.event.time)
                        if -10 * BEFORE <= apart <= 10 * AFTER:
                            left.joined = right.joined = True
                            pair = Pair(
                                event.key, left.number, left.event.time, right.number, right.event.time
                            )
                            self.pairs.append((offset, pair))
                self.waiting.append(held)
            done = [held for held in self.waiting if held.due + 10 * grace < self.watermark]
            done.sort(key=lambda held: (held.due, held.event.key, held.side, held.number))
            self.waiting = [held for held in self.waiting if held not in done]
            self.alone += [(offset, held.side, held.one) for held in done if not held.joined]


@given(events=events_to_join, pattern=sides, how=cuts, grace=st.sampled_from([0, 10, 60]))
@slow
async def test_partners_find_each_other_once(
    events: list[Event],
    pattern: list[bytes],
    how: Cuts,
    grace: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    kinds = list(itertools.islice(itertools.cycle(pattern), len(events)))
    table = _table(grace)
    runner = Runner(tmp_path_factory.mktemp("joins"), table)
    pairs: list[tuple[int, Pair[int, int]]] = []
    alone: list[tuple[int, bytes, One[int]]] = []
    number = itertools.count()
    async for commit in runner.run(events, lambda event: event.time, how):

        def joined(pair: Pair[int, int], commit: Any = commit) -> None:
            pairs.append((commit.offset, pair))

        def left(one: One[int], commit: Any = commit) -> None:
            alone.append((commit.offset, LEFT, one))

        def right(one: One[int], commit: Any = commit) -> None:
            alone.append((commit.offset, RIGHT, one))

        joins = table.open(commit, joined=joined, alone_left=left, alone_right=right)
        for event in commit:
            kind = kinds[commit.offset]
            if LEFT in kind:
                joins.add_left(event.key, next(number), at=event.time)
            if RIGHT in kind:
                joins.add_right(event.key, next(number), at=event.time)
    wanted = Expected(events, kinds, grace)
    assert pairs == wanted.pairs
    assert alone == wanted.alone
    assert [offset for _, offset in runner.late] == wanted.late
    # What was told to be alone never has a partner, and nobody is told twice.
    numbers = [one.value for _, _, one in alone]
    partners = {number for _, pair in pairs for number in (pair.left, pair.right)}
    assert len(set(numbers)) == len(numbers)
    assert partners.isdisjoint(numbers)
    if events:
        _check_rows(table, runner, wanted)
        runner.state.close()


def _check_rows(table: Any, runner: Runner, wanted: Expected) -> None:
    reader = Reader(runner.state)
    for name in {held.event.key for held in wanted.waiting} | {"", "a"}:
        waiting = [held for held in wanted.waiting if held.event.key == name]
        waiting.sort(key=lambda held: (held.event.time, held.number))
        assert table.query([reader], name, Range(start=-1)) == {
            word: [
                {"at": iso(held.event.time), "joined": held.joined, "partition": 0, "value": held.number}
                for held in waiting
                if held.side == side
            ]
            for word, side in (("left", LEFT), ("right", RIGHT))
        }
    assert table.info([reader])["late"] == len(wanted.late)
    rows = [key for key, _ in runner.state.scan_committed(b"j\0", b"j\1") if key != table.late_key]
    assert len(rows) == len(wanted.waiting)
    finders = [key for key, _ in runner.state.scan_committed(b"j\1", b"j\2")]
    assert sorted(key[len(b"j\1") + 8 :] for key in finders) == rows


@given(events=events_to_join, how=cuts)
@slow
async def test_nothing_stays_when_all_is_settled(
    events: list[Event], how: Cuts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = _table(10)
    runner = Runner(tmp_path_factory.mktemp("joins"), table)
    last = Event("last", 1000.0, 0)
    async for commit in runner.run([*events, last], lambda event: event.time, how):
        joins = table.open(commit, joined=lambda pair: None)
        for event in commit:
            if event is not last:
                add = joins.add_left if event.figure % 2 else joins.add_right
                add(event.key, event.figure, at=event.time)
    log = {record.key: record.value for record in runner._log.records}
    assert [key for key, value in log.items() if key[:2] == b"j\0" and value is not None] in (
        [],
        [table.late_key],
    )
    rows = {key for key, _ in runner.state.scan_committed(b"j\0", b"j\2")}
    assert rows <= {table.late_key}
    runner.state.close()


async def test_a_query_has_a_range_and_a_limit(tmp_path: Any) -> None:
    table = _table(0)
    runner = Runner(tmp_path, table)
    events = [Event("a", 100.0 + n, n) for n in range(5)]
    async for commit in runner.run(events, lambda event: event.time, Cuts([2], 1, 9, lose_disk=False)):
        joins = table.open(commit, joined=lambda pair: None)
        for event in commit:
            (joins.add_left if event.figure % 2 else joins.add_right)("a", event.figure, at=event.time)
    reader = Reader(runner.state)
    answer = table.query([reader], "a", Range(start=101, end=104, limit=2))
    assert [one["value"] for one in answer["left"]] == [1]
    assert [one["value"] for one in answer["right"]] == [2]
    assert answer["next"] == iso(103)
    runner.state.close()


def _table(grace: int) -> JoinTable[int, int]:
    second = timedelta(seconds=1)
    return JoinTable(
        "j", left=int, right=int, before=BEFORE * second, after=AFTER * second, grace=grace * second
    )


@pytest.mark.parametrize("later", [[130.0, 500.0], [500.0]])
async def test_a_join_that_is_declared_anew_tells_nothing_twice(later: list[float], tmp_path: Any) -> None:
    runner = Runner(tmp_path, _table(0))
    once = Cuts([1], 1, 9, lose_disk=False)
    async for commit in runner.run([Event("a", 100.0, 7)], lambda event: event.time, once):
        for event in commit:
            _table(0).open(commit, joined=lambda pair: None).add_left("a", 7, at=event.time)
    second = timedelta(seconds=1)
    anew = JoinTable("j", left=int, right=int, before=BEFORE * second, after=2 * AFTER * second)
    changes = Changes()
    for key, value in runner.state.scan_committed(b"j\0", b"j\1"):
        anew.derive(key, value, changes)  # as when its log is read again
    await runner.state.commit(changes, runner.state.position)
    runner.state.close()
    alone: list[Any] = []
    async for commit in runner.run([Event("b", at, 8) for at in later], lambda event: event.time, once):
        anew.open(commit, joined=lambda pair: None, alone_left=alone.append)
    assert alone == [One("a", 7, 100.0)]
    assert list(runner.state.scan_committed(b"j\0", b"j\2")) == []
    runner.state.close()
