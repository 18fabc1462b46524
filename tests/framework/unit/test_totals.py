"""Totals over source partitions on real RocksDB and a log in memory: only the newest partials count."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.records import twin
from millstream.serde.json import encode
from millstream.tables.aggregates import Count, Several, Sum
from millstream.tables.table import Range
from millstream.tables.totals import TotalTable
from millstream.tables.windows import Window
from tests.framework.apps.shop import PageCount, app, page_counts
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.cuts import Cuts, Runner, cuts
from tests.framework.unit.test_tables import Batch, Event, Reader, cut, sizes, slow, state_of

MINUTE = timedelta(minutes=1)


@dataclass
class Partial(Event):
    """What a partition has counted; of a page, minute, partition and version there is one value."""

    start: int = 0
    partition: int = 0
    version: int = 0

    @property
    def window(self) -> tuple[str, int]:
        return self.page, self.start

    @property
    def views(self) -> int:
        return len(self.page) * 1000 + self.start + self.partition * 100 + (self.version * 7) % 5


partials = st.builds(
    Partial,
    st.just("e"),
    st.just(0.0),
    st.sampled_from(["/", "/a", "/a\0"]),
    st.sampled_from([0, 60]),
    st.integers(0, 3),
    st.integers(0, 5),
)


def expected(sent: list[Partial]) -> dict[tuple[str, int], int]:
    """Sum the newest partials, straight from the definition."""
    newest: dict[tuple[str, int], dict[int, Partial]] = {}
    for one in sorted(sent, key=lambda one: one.version):
        newest.setdefault(one.window, {})[one.partition] = one
    return {window: sum(one.views for one in parts.values()) for window, parts in newest.items()}


@given(sent=st.lists(partials, max_size=60), sizes=sizes, restart=st.integers(1, 5))
@slow
async def test_totals_are_the_newest_partials_in_any_order(
    sent: list[Partial], sizes: list[int], restart: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = TotalTable("totals", size=MINUTE, value=Count("views"))
    log, folder = MemoryLog(), tmp_path_factory.mktemp("totals")
    state = await state_of(log, folder / "0", table)
    updates: list[tuple[int, Window]] = []
    for number, (first, part) in enumerate(cut(sent, sizes), 1):
        batch = Batch(state, part, first)

        def update(window: Window, batch: Batch = batch) -> None:
            updates.append((batch.offset, window))

        totals = table.open(batch, changed=update)
        for one in batch:
            totals.put(one.page, one.start, one.views, partition=one.partition, version=one.version)
        await batch.commit()
        if number % restart == 0:
            state.close()
            log.compact()
            state = await state_of(log, folder / str(number), table)
    right = expected(sent)
    found = {
        (page, start): total
        for page in {one.page for one in sent}
        for start, total in table.panes(Reader(state), page, 0, 120)
    }
    assert found == right
    # An update is what the partials up to its origin say, however they were cut into batches...
    for origin, window in updates:
        before = expected(sent[: origin + 1])
        assert window.result["views"] == before[window.key, window.start]
    # ...and its origin is a partial of its window that was new.
    for origin, _ in updates:
        one = sent[origin]
        assert all(
            (other.window, other.partition) != (one.window, one.partition) or other.version < one.version
            for other in sent[:origin]
        )
    newest = {(window.key, window.start): window.result["views"] for _, window in sorted(updates)}
    assert newest == right
    state.close()


async def test_a_repeated_or_old_partial_changes_and_sends_nothing(tmp_path: Path) -> None:
    table = TotalTable("totals", size=MINUTE, value=Several(Sum("purchases"), Sum("amount")))
    state = await state_of(MemoryLog(), tmp_path / "0", table)
    sent: list[Window] = []

    async def put(*parts: tuple[int, int, int]) -> int:
        """Put (partition, version, purchases) in one batch; return how many rows it changed."""
        batch = Batch(state, [Event("e", 0.0) for _ in parts], 0)
        totals = table.open(batch, changed=sent.append)
        for _, (partition, version, purchases) in zip(batch, parts, strict=True):
            totals.put("GB", 60, (purchases, 0.25), partition=partition, version=version)
        before = dict(state.scan_committed(b"totals\0", b"totals\1"))
        await batch.commit()
        return len(dict(state.scan_committed(b"totals\0", b"totals\1")).items() - before.items())

    assert await put((0, 3, 10), (1, 7, 20)) == 1
    assert await put((0, 3, 10)) == 0
    assert await put((1, 6, 19), (0, 2, 9)) == 0
    assert await put((1, 7, 20), (1, 9, 22), (1, 8, 21)) == 1
    assert [window.result["purchases"] for window in sent] == [30, 32]
    assert sent[-1][:4] == ("GB", 60, 120, {"purchases": 32, "amount": 0.5})
    answer = table.query([Reader(state)], "GB", Range())
    assert answer["total"] == sent[-1].result
    times = {"start": "1970-01-01T00:01:00Z", "end": "1970-01-01T00:02:00Z"}
    assert answer["windows"] == [times | sent[-1].result]
    state.close()


def test_the_limits_of_events_are_not_for_counts() -> None:
    source = app.topology.sources[page_counts.get_topic_name()]

    @dataclass
    class FromKafka:
        value: bytes
        timestamp: int = 0

    far = twin(PageCount)(page="/" + "a" * 400_000, partition=0, window_start=10**10, views=1, version=0)
    (decoded,) = source.decode([FromKafka(encode(far))])  # type: ignore[list-item] # all that is read of it
    assert (decoded, source.event_time(decoded)) == (far, 10**10)


@dataclass(frozen=True)
class Timed:
    """A partial and the watermark that it comes at."""

    time: float
    start: int
    partition: int
    version: int


timed = st.lists(
    st.builds(
        Timed,
        st.integers(0, 300).map(float),
        st.sampled_from([0, 60, 120, 180]),
        st.integers(0, 2),
        st.integers(0, 4),
    ),
    max_size=50,
)


@given(sent=timed, how=cuts, grace=st.sampled_from([0, 30]))
@slow
async def test_totals_close_once_with_the_newest_partials(
    sent: list[Timed], how: Cuts, grace: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seconds = timedelta(seconds=1)
    table = TotalTable("t", size=MINUTE, value=Sum(), grace=grace * seconds, keep=10_000 * seconds)
    runner = Runner(tmp_path_factory.mktemp("totals"), table)
    final: list[tuple[int, int, int]] = []
    async for commit in runner.run(sent, lambda one: one.time, how):

        def closed(window: Window, commit: Any = commit) -> None:
            final.append((commit.offset, window.start, window.result["sum"]))

        totals = table.open(commit, closed=closed)
        for one in commit:
            value = 100 * one.partition + one.version
            totals.put("k", one.start, value, partition=one.partition, version=one.version)
    newest: dict[int, dict[int, int]] = {}
    right, late, watermark = [], [], 0.0
    for offset, one in enumerate(sent):
        before, watermark = watermark, max(watermark, one.time)
        parts = newest.setdefault(one.start, {})
        if one.version > parts.get(one.partition, -1):
            if one.start + 60 + grace <= watermark:
                late.append(offset)
            else:
                parts[one.partition] = one.version
        right += [
            (offset, start, sum(100 * number + version for number, version in parts.items()))
            for start, parts in sorted(newest.items())
            if parts and before < start + 60 + grace <= watermark
        ]
    assert final == right
    assert [offset for _, offset in runner.late] == late
    if sent:
        runner.state.close()
