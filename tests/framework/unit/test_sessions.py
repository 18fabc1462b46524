"""Sessions against their definition: growing, merging, closing, retention, however the events are cut."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from millstream.tables.aggregates import Count, Last, Several, Sum
from millstream.tables.sessions import Session, SessionTable
from millstream.tables.table import Range, iso
from tests.framework.unit.cuts import Cuts, Reader, Runner, cuts
from tests.framework.unit.test_windows import Event, events_of_a_partition, nearly_in_order, result

GAP = 20
slow = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
value = Several(
    Count(),
    Sum(of=lambda event: event.figure),
    Last("last", of=lambda event: event.figure, at=lambda event: event.time),
)
# The second session takes a late event, and so begins where the first did that has closed.
BEGUN_AGAIN = [
    Event(key, time, figure)
    for figure, (key, time) in enumerate([("b", 0), ("a", 25), ("b", 6), ("b", 0), ("a", 26)])
]


@dataclass
class Held:
    key: str
    start: float
    end: float
    events: list[Event]


class Expected:
    """What sessions hold, straight from the definition, one event after the other."""

    def __init__(self, events: list[Event], grace: int) -> None:
        self.open: list[Held] = []
        self.final: list[tuple[int, Held]] = []
        self.late: list[int] = []
        self.watermark = 0.0
        for offset, event in enumerate(events):
            self.watermark = max(self.watermark, event.time)
            done = [held for held in self.open if held.end + GAP + grace <= self.watermark]
            done.sort(key=lambda held: (held.end, held.key, held.start))
            self.final += [(offset, held) for held in done]
            self.open = [held for held in self.open if held not in done]
            near = [
                held
                for held in self.open
                if held.key == event.key and held.start - GAP < event.time < held.end + GAP
            ]
            if not near and event.time + GAP + grace <= self.watermark:
                self.late.append(offset)
                continue
            near.sort(key=lambda held: held.start)
            # The first one takes the event, then what the others hold: the order is that of `Last`.
            together = [*(near[0].events if near else ()), event]
            together += [one for held in near[1:] for one in held.events]
            times = [one.time for one in together]
            self.open = [held for held in self.open if held not in near]
            self.open.append(Held(event.key, min(times), max(times), together))


@given(events=events_of_a_partition | nearly_in_order, how=cuts, grace=st.sampled_from([0, 10, 60]))
@example(events=BEGUN_AGAIN, how=Cuts(sizes=[1], depth=1, restart=1, lose_disk=False), grace=0)
@slow
async def test_sessions_close_once_with_what_was_in_time(
    events: list[Event], how: Cuts, grace: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = SessionTable("s", gap=timedelta(seconds=GAP), value=value, grace=timedelta(seconds=grace))
    runner = Runner(tmp_path_factory.mktemp("sessions"), table)
    final: list[tuple[int, Session]] = []
    current: dict[str, Session] = {}
    async for commit in runner.run(events, lambda event: event.time, how):

        def closed(session: Session, commit: Any = commit) -> None:
            final.append((commit.offset, session))

        def changed(session: Session) -> None:
            current[session.key] = session

        sessions = table.open(commit, changed=changed, closed=closed)
        for event in commit:
            sessions.add(event.key, event, at=event.time)
    right = Expected(events, grace)
    assert final == [(offset, _session(held)) for offset, held in right.final]
    assert sorted(offset for _, offset in runner.late) == right.late
    for held in right.open:
        assert current[held.key].start <= max(one.start for one in right.open if one.key == held.key)
    if not events:
        return
    reader = Reader(runner.state)
    for name in {event.key for event in events}:
        assert table.query([reader], name, Range(start=-1))["sessions"] == [
            {
                "start": iso(held.start),
                "end": iso(held.end),
                "open": held in right.open,
                "partition": 0,
                **result(value, held.events),
            }
            for held in sorted(
                (one for one in [*right.open, *(held for _, held in right.final)] if one.key == name),
                key=lambda held: (held.start, held.end),
            )
        ]
    assert table.info([reader])["late"] == len(right.late)
    runner.state.close()


@given(events=events_of_a_partition, how=cuts, keep=st.sampled_from([0, 30, 100]))
@slow
async def test_sessions_that_are_not_kept_leave_disk_and_log(
    events: list[Event], how: Cuts, keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = SessionTable("s", gap=timedelta(seconds=GAP), value=Count(), keep=timedelta(seconds=keep))
    runner = Runner(tmp_path_factory.mktemp("sessions"), table)
    await runner.fill(table, events, how)
    if not events:
        return
    right = Expected(events, 0)
    kept = {
        table.closed_key(held.key, held.start, held.end)
        for _, held in right.final
        if held.end + GAP + keep > right.watermark
    }
    still_open = {table.open_key(held.key) for held in right.open}
    rows = {key for key, _ in runner.state.scan_committed(b"s\0", b"s\1")} - {table.late_key}
    assert rows == kept | still_open
    runner.state.close()


def _session(held: Held) -> Session:
    return Session(held.key, held.start, held.end, result(value, held.events))
