"""The watermark of a topic that several partitions fill: the lowest of theirs, however it is cut."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millstream.engine.upstream_watermarks import (
    NO_EVENTS,
    UpstreamWatermarks,
    load,
    read_markers,
    watermark_marker,
)

PARTITIONS = 2


@dataclass
class Record:
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def records_of(steps: list[tuple[int, float] | None]) -> list[Any]:
    """Make records: an event for None, else a partition's watermark marker."""
    records = []
    for offset, step in enumerate(steps):
        if step is None:
            records.append(Record(offset, b"k", b"{}"))
        else:
            records.append(Record(offset, *watermark_marker(f"t/{step[0]}", step[1], PARTITIONS)))
    return records


# Watermarks that go up, and some that come late, from a worker that has lost the partition.
marks = st.tuples(st.integers(0, PARTITIONS - 1), st.sampled_from([1.0, 2.0, 3.0, 5.5, 8.0, NO_EVENTS]))
steps_of_a_topic = st.lists(st.none() | marks, max_size=40)


@given(steps=steps_of_a_topic)
def test_it_is_the_lowest_once_all_have_reported(steps: list[tuple[int, float] | None]) -> None:
    told = read_markers(records_of(steps), {}, 0.0)
    highest: dict[int, float] = {}
    silent: Counter[int] = Counter()
    watermark, right, moves = 0.0, [], []
    for offset, step in enumerate(steps):
        if step is None:
            right.append(watermark)
            continue
        number, reached = step
        if reached == NO_EVENTS:
            silent[number] += 1
        else:
            if not highest:
                silent.clear()
            highest[number] = max(highest.get(number, 0.0), reached)
        waited_for = {n for n in range(PARTITIONS) if n not in highest and silent[n] < 2}
        lowest = min(highest.values(), default=0.0)
        if not waited_for and watermark < lowest:
            watermark = lowest
            moves.append((watermark, offset))
    assert told.watermarks == right
    assert told.moves == moves
    assert [record.offset for record in told.events] == [i for i, step in enumerate(steps) if step is None]


@given(steps=steps_of_a_topic, at=st.integers(0, 40))
def test_it_does_not_depend_on_the_cuts(steps: list[tuple[int, float] | None], at: int) -> None:
    records = records_of(steps)
    whole = read_markers(records, {}, 0.0)
    first = read_markers(records[:at], {}, 0.0)
    reached = first.moves[-1][0] if first.moves else 0.0
    second = read_markers(records[at:], load(first.row), reached)
    together = UpstreamWatermarks(
        first.events + second.events,
        first.watermarks + second.watermarks,
        first.moves + second.moves,
        second.known,
    )
    assert together == whole


def test_a_tombstone_of_another_is_an_event_for_the_decoder() -> None:
    (record,) = read_markers([Record(0, b"k", None)], {}, 0.0).events
    assert record.value is None
