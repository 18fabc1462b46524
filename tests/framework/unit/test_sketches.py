"""Sketches against what they stand for: exact while small, within their bounds above, whatever the cuts."""

import random
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.errors import DeclarationError
from millstream.tables.aggregates import Count, Several
from millstream.tables.sessions import SessionTable
from millstream.tables.sketches import Distinct, Quantiles, TopN
from millstream.tables.windows import WindowTable
from tests.framework.unit.cuts import Cuts, Runner, cuts
from tests.framework.unit.test_windows import Event, events_of_a_partition, result

SECOND = timedelta(seconds=1)
slow = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
one_by_one = Cuts([1], 1, 1000, lose_disk=False)


def figure(event: Event) -> int:
    return event.figure


def item(event: Event) -> str:
    return str(event.figure)


# With bounds so small that the events go beyond them.
parts = [
    Distinct(of=figure, exact=3),
    Quantiles(of=figure, exact=4),
    TopN(of=item, weight=lambda event: int(event.time) // 10, n=2, capacity=4),
]
everything = Several(Count(), *parts)
tables: list[Callable[[], Any]] = [
    lambda: WindowTable("t", size=60 * SECOND, value=everything, grace=15 * SECOND),
    lambda: WindowTable("t", size=60 * SECOND, step=20 * SECOND, value=everything, grace=15 * SECOND),
    lambda: SessionTable("t", gap=15 * SECOND, value=everything),
]


async def told(
    table: Any, events: list[Event], how: Cuts, runner: Runner
) -> tuple[list[Any], dict[Any, Any]]:
    """Return all final results, and by key and origin the others."""
    final: list[Any] = []
    current: dict[Any, Any] = {}
    async for commit in runner.run(events, lambda event: event.time, how):

        def closed(window: Any, commit: Any = commit) -> None:
            final.append((commit.offset, window.key, window.start, window.result))

        def changed(window: Any, commit: Any = commit) -> None:
            current[commit.offset, window.key, window.start] = window.result

        opened = table.open(commit, changed=changed, closed=closed)
        for event in commit:
            opened.add(event.key, event, at=event.time)
    if events:
        runner.state.close()
    return final, current


@pytest.mark.parametrize("make", tables, ids=["tumbling", "hopping", "sessions"])
@given(events=events_of_a_partition, how=cuts)
@slow
async def test_results_do_not_depend_on_the_cuts(
    make: Callable[[], Any], events: list[Event], how: Cuts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table, folder = make(), tmp_path_factory.mktemp("sketches")
    final, current = await told(table, events, how, Runner(folder / "cut", table))
    all_final, all_current = await told(table, events, one_by_one, Runner(folder / "whole", table))
    assert final == all_final
    if table.info([]).get("step_seconds") is None:  # else an update has the origin of its last pane alone
        assert current.items() <= all_current.items()


@given(events=events_of_a_partition, how=cuts)
@slow
async def test_a_window_holds_its_events_one_after_the_other(
    events: list[Event], how: Cuts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = WindowTable("t", size=60 * SECOND, value=everything)
    _, current = await told(table, events, how, Runner(tmp_path_factory.mktemp("sketches"), table))
    for (offset, key, start), shown in current.items():
        held = [event for event in events[: offset + 1] if event.key == key and 0 <= event.time - start < 60]
        assert shown == result(everything, held)


numbers = st.lists(st.integers(-30, 30) | st.floats(-1e6, 1e6), max_size=200)
chunked = st.lists(numbers, min_size=1, max_size=4)


def merged(aggregate: Any, chunked: list[list[Any]], *, packed: bool) -> dict[str, Any]:
    """Add each stretch, packing the value after each event if wanted, and merge them."""

    def packing(total: Any) -> Any:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(total), type=aggregate.type) if packed else total

    totals = []
    for values in chunked:
        total = aggregate.zero()
        for value in values:
            total = packing(aggregate.add(total, value))
        totals.append(total)
    before = msgspec.msgpack.encode(totals)
    whole = reduce(aggregate.merge, totals, aggregate.zero())
    assert msgspec.msgpack.encode(totals) == before
    answer: dict[str, Any] = aggregate.result(packing(whole))
    return answer


@given(chunked=chunked, packed=st.booleans())
def test_distinct_counts_exactly_up_to_its_bound(chunked: list[list[Any]], packed: bool) -> None:
    values = {msgspec.msgpack.encode(value) for part in chunked for value in part}
    answer = merged(Distinct("ids", exact=20), chunked, packed=packed)
    assert answer == {
        "ids": len(values) if len(values) <= 20 else pytest.approx(len(values), rel=0.1),
        "ids_exact": len(values) <= 20,
    }


@pytest.mark.parametrize("exact", [1, 400])
def test_an_estimate_depends_on_the_values_alone(exact: int) -> None:
    """So many values share registers: then the order of the updates is in the library's own estimate."""
    ids = [f"id {i}" for i in range(5000)]
    answers = []
    for seed in range(6):
        random.Random(seed).shuffle(ids)
        at = sorted(random.Random(seed).sample(range(len(ids)), seed))
        bounds = zip([0, *at], [*at, None], strict=True)
        answers.append(merged(Distinct(exact=exact), [ids[a:b] for a, b in bounds], packed=bool(seed % 2)))
    assert answers == [answers[0]] * 6
    assert answers[0]["distinct"] == pytest.approx(5000, rel=0.05)


@given(chunked=chunked, packed=st.booleans(), accuracy=st.sampled_from([0.01, 0.1]))
def test_quantiles_are_within_their_accuracy(chunked: list[list[Any]], packed: bool, accuracy: float) -> None:
    values = sorted(value for part in chunked for value in part)
    ranks = (0, 0.25, 0.5, 0.999, 1)
    answer = merged(Quantiles("q", ranks=ranks, accuracy=accuracy, exact=20), chunked, packed=packed)
    right = [values[int(rank * (len(values) - 1))] if values else None for rank in ranks]
    assert list(answer["q"]) == ["p0", "p25", "p50", "p99.9", "p100"]
    if len(values) <= 20:
        assert list(answer["q"].values()) == right
    else:
        assert list(answer["q"].values()) == pytest.approx(right, rel=accuracy * (1 + 1e-9), abs=1e-300)


weighted = st.tuples(st.sampled_from("abcdefghijkl") | st.sampled_from("ab"), st.integers(0, 20))


@given(chunked=st.lists(st.lists(weighted, max_size=80), min_size=1, max_size=4), packed=st.booleans())
def test_top_n_is_within_its_bound(chunked: list[list[tuple[str, int]]], packed: bool) -> None:
    aggregate = TopN("top", 3, of=lambda pair: pair[0], weight=lambda pair: pair[1], capacity=6)
    answer = merged(aggregate, chunked, packed=packed)
    sums: Counter[str] = Counter()
    for part in chunked:
        for name, weight in part:
            sums[name] += weight
    top = {one["item"]: one["weight"] for one in answer["top"]}
    error = answer["top_error"]
    assert list(top.items()) == sorted(top.items(), key=lambda pair: (-pair[1], pair[0]))
    if len(sums) <= 6:
        assert (list(top.items()), error) == (
            sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))[:3],
            0,
        )
    assert error <= 2 * sums.total() / 6
    assert all(weight <= sums[name] <= weight + error for name, weight in top.items())
    # Nothing that is left out can be larger than what is shown, by more than the error.
    least = min(top.values()) if len(top) == 3 else 0
    assert all(weight <= least + error for name, weight in sums.items() if name not in top)


def test_top_n_takes_only_what_it_can_read_again() -> None:
    for wrong in (TopN(of=lambda _: 1), TopN(of=str, weight=lambda _: 0.5)):
        with pytest.raises(TypeError):
            wrong.add(wrong.zero(), "event")


def test_top_n_shows_what_it_can_keep() -> None:
    with pytest.raises(DeclarationError, match="top: to show 10 items takes a capacity of 20, not 19"):
        TopN(of=item, capacity=19)


@pytest.mark.parametrize("aggregate", [*parts, everything], ids=lambda part: type(part).__name__)
def test_events_without_a_figure_are_left_out(aggregate: Any) -> None:
    for part in (Distinct(), Quantiles(), TopN()):
        assert part.add(part.zero(), None) == part.zero()
    assert aggregate.result(aggregate.zero())
