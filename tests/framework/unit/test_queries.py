"""Queries of every type of table, of one partition, of several, and of rows that came from elsewhere."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import floor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.records import event_time
from millstream.state.log import Position
from millstream.state.readers import Committed, RecordingRows
from millstream.state.replica import Changes
from millstream.state.snapshot import BoundedRead, TooMuchError
from millstream.state.state import State
from millstream.state.store import Store
from millstream.tables.aggregates import Count, LastN, Max, Several, Sum
from millstream.tables.dedup import DedupTable
from millstream.tables.joins import JoinTable
from millstream.tables.origin_dedup import OriginDedupTable
from millstream.tables.queries import ByKey, Keys, Query, Top
from millstream.tables.sessions import SessionTable
from millstream.tables.sliding import SlidingTable
from millstream.tables.table import CannotAnswerError, Range
from millstream.tables.totals import TotalTable
from millstream.tables.values import ValueTable
from millstream.tables.windows import WindowTable
from millstream.testing.memory_store import MemoryStore
from millstream.web.partition_reads import PartitionRead
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.cuts import Commit

KEYS = ["", "/", "/a", "/a/b", "/ab", "/b", "/ä", "x", "\U0001f600", "z" * 40]


class Event(NamedTuple):
    key: str
    time: float
    amount: int = 1
    partition: int = 0

    @property
    def event_id(self) -> str:
        return self.key

    @property
    def timestamp(self) -> float:
        return self.time


@dataclass
class Batch(Commit[Event]):
    """The same for tables that take whole batches."""

    @property
    def origins(self) -> list[int]:
        return list(range(self.first, self.first + len(self.events)))

    @property
    def sources(self) -> list[tuple[bytes, int]]:
        return [(b"t/0", offset) for offset in self.origins]

    def pick(self, indices: Any) -> Any:
        for self.index in indices:
            yield self.events[self.index]


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


MANY = Several(
    Count("events"), Sum("amount", of=lambda event: event.amount), Max("most", of=lambda e: e.amount)
)
TABLES: dict[str, Any] = {
    "windows": lambda: WindowTable("t", size=seconds(60), value=MANY),
    "hopping": lambda: WindowTable(
        "t", size=seconds(60), step=seconds(20), value=MANY, grace=seconds(100), keep=seconds(200)
    ),
    "totals": lambda: TotalTable("t", size=seconds(60), value=Sum("views"), grace=seconds(90)),
    "sliding": lambda: SlidingTable("t", size=seconds(60), value=MANY, grace=seconds(90), keep=seconds(150)),
    "sessions": lambda: SessionTable("t", gap=seconds(30), value=MANY, grace=seconds(20)),
    "values": lambda: ValueTable("t", value=MANY, keep=seconds(300)),
    "joins": lambda: JoinTable(
        "t", left=int, right=int, before=seconds(20), after=seconds(100), grace=seconds(100)
    ),
    "seen": lambda: DedupTable("t", ttl=seconds(100)),
    "once": lambda: OriginDedupTable("t"),
}
LISTED = [name for name in TABLES if name != "once"]


def put(name: str, table: Any, batch: Batch, index: int) -> None:
    opened = table.open(batch, joined=lambda pair: None) if name == "joins" else table.open(batch)
    if name in ("seen", "once"):
        list(opened.first(batch))
        return
    for event in batch:
        if name == "joins":
            (opened.add_left if event.amount % 2 else opened.add_right)(
                event.key, event.amount, at=event.time
            )
        elif name == "totals":
            start = floor(event.time / 60) * 60
            opened.put(
                event.key, start, event.amount, partition=event.amount % 3, version=batch.first + index
            )
        else:
            opened.add(event.key, event, at=event.time)


async def filled(name: str, table: Any, events: Sequence[Event], store: Any = None) -> Any:
    """Return position and rows of a partition that has taken the events, in batches of seven."""
    state = State(MemoryLog(), store or MemoryStore({}), [table])
    await state.acquire()
    watermark = 0.0
    for first in range(0, len(events), 7):
        part = events[first : first + 7]
        marks = []
        for event in part:
            marks.append(max(event.time, watermark, *marks))
        batch = Batch(state, part, first, watermark, marks)
        put(name, table, batch, 0)
        changes = Changes()
        for fold in batch.folds:
            fold(changes)
        watermark = marks[-1]
        await state.commit(changes, Position({"s": first + len(part)}, watermark))
    return state.snapshot()


async def partitions(name: str, table: Any, events: Sequence[Event]) -> list[Committed]:
    readers = []
    for number in range(3):
        position, rows = await filled(name, table, [event for event in events if event.partition == number])
        readers.append(Committed(number, position.watermark, rows))
    return readers


def elsewhere(question: Query, table: Any, reader: Committed) -> Committed:
    """Return a reader of the rows that another worker would send."""
    recorder = RecordingRows(reader.rows)
    question.answer(table, [Committed(reader.partition, reader.watermark, recorder)])
    part = PartitionRead("s", reader.partition, 7, reader.watermark, rows=recorder.read)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=PartitionRead).reader()


event_lists = st.lists(
    st.builds(
        Event,
        st.sampled_from(KEYS),
        st.integers(0, 4000).map(lambda n: n / 8) | st.integers(0, 500).map(float),
        st.integers(1, 9),
        st.integers(0, 2),
    ),
    max_size=60,
)
some = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", TABLES)
@given(
    events=event_lists,
    at=st.integers(0, 500),
    limit=st.integers(1, 4),
    prefix=st.sampled_from(["", "/", "/a"]),
)
@some
async def test_rows_of_other_workers_answer_as_one_s_own(
    name: str, events: list[Event], at: int, limit: int, prefix: str
) -> None:
    table = TABLES[name]()
    readers = await partitions(name, table, events)
    questions: list[Query] = [
        ByKey(key, Range(at, at + 100, limit)) for key in {event.key for event in events}
    ]
    questions += [ByKey("/"), ByKey("s/0/3"), ByKey("none")]
    if name != "once":
        questions += [Keys(prefix, None, limit), Keys(prefix, "/a", limit), Keys(prefix, limit=1000)]
    if name in ("windows", "hopping"):
        questions += [Top(limit, "amount", at), Top(limit, "amount"), Top(limit, "most")]
    if name == "totals":
        questions += [Top(limit, None, at), Top(limit)]
    for question in questions:
        right = question.answer(table, readers)
        for away in (readers[:0], readers[:1], readers[1:], readers):
            mixed = [elsewhere(question, table, one) if one in away else one for one in readers]
            assert question.answer(table, mixed) == right


@pytest.mark.parametrize("name", LISTED)
@given(events=event_lists, limit=st.integers(1, 3))
@some
async def test_keys_are_listed_page_by_page(name: str, events: list[Event], limit: int) -> None:
    table = TABLES[name]()
    readers = await partitions(name, table, events)
    everything = Keys(limit=1000).answer(table, readers)
    assert everything is not None
    assert "next" not in everything
    names = [one["key"] for one in everything["keys"]]
    assert names == sorted(set(names))
    if name in ("windows", "totals", "sessions"):  # nothing is deleted, little is late
        present = {event.key for event in events}
        assert set(names) == present if name == "windows" else set(names) <= present
    for prefix in ("", "/", "/a", "none"):
        pages, after = [], None
        while True:
            page = Keys(prefix, after, limit).answer(table, readers)
            assert page is not None
            pages += page["keys"]
            assert len(page["keys"]) == limit or "next" not in page
            after = page.get("next")
            if after is None:
                break
        assert pages == [one for one in everything["keys"] if one["key"].startswith(prefix)]


@pytest.mark.parametrize("name", LISTED)
@given(events=event_lists)
@some
async def test_the_newest_value_is_the_last_of_all(name: str, events: list[Event]) -> None:
    table = TABLES[name]()
    readers = await partitions(name, table, events)
    for key in {event.key for event in events}:
        newest, whole = table.newest(readers, key), table.query(readers, key, Range(-100))
        if name in ("windows", "totals", "sliding"):
            assert newest == (whole["windows"][-1] if whole["windows"] else None)
        elif name == "hopping":  # the windows behind it hold a part of it
            assert (newest in whole["windows"]) if whole["windows"] else newest is None
        elif name == "sessions":
            assert newest == (whole["sessions"][-1] if whole["sessions"] else None)
        elif name == "joins":
            times = [one["at"] for side in ("left", "right") for one in whole[side]]
            assert (newest or {}).get("at") == max(times, default=None, key=event_time)
        else:
            assert newest == whole


@pytest.mark.parametrize("name", ["windows", "hopping", "sliding", "sessions", "joins"])
@given(events=event_lists)
@some
async def test_a_key_is_read_page_by_page(name: str, events: list[Event]) -> None:
    table = TABLES[name]()
    # No two of a key at one moment: a page ends between moments.
    events = list({(event.key, event.time, event.amount % 2): event for event in events}.values())
    readers = await partitions(name, table, events)
    for key in {event.key for event in events}:
        whole = table.query(readers, key, Range(-100))
        fields = [field for field in ("windows", "sessions", "left", "right") if field in whole]
        pages: dict[str, list[Any]] = defaultdict(list)
        start = -100.0
        for _ in range(len(events) * 4 + 9):
            page = table.query(readers, key, Range(start, limit=3))
            for field in fields:
                pages[field] += [one for one in page[field] if one not in pages[field]]
            if "next" not in page:
                break
            start = event_time(page["next"])
        assert {field: pages[field] for field in fields} == {field: whole[field] for field in fields}


@given(events=event_lists, at=st.integers(0, 500) | st.none(), limit=st.integers(1, 12))
@some
async def test_top_is_what_a_look_at_all_events_finds(
    events: list[Event], at: int | None, limit: int
) -> None:
    table = TABLES["windows"]()
    readers = await partitions("windows", table, events)
    found = Top(limit, "amount", at).answer(table, readers)
    assert found is not None
    newest = max((event.time for event in events), default=0.0)
    start = floor((newest if at is None else at) / 60) * 60
    amounts: dict[str, int] = defaultdict(int)
    for event in events:
        if start <= event.time < start + 60:
            amounts[event.key] += event.amount
    right = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))[:limit]
    assert [(one["key"], one["amount"]) for one in found["top"]] == right
    assert (event_time(found["start"]), found["by"]) == (start, "amount")


async def test_top_is_of_the_last_window_with_anything_while_no_watermark_is_known() -> None:
    table = TABLES["windows"]()
    events = [Event("a", 1000.0, 1), Event("b", 1100.0, 2), Event("c", 1110.0, 3)]
    readers = [Committed(one.partition, 0.0, one.rows) for one in await partitions("windows", table, events)]
    found = Top(10, "amount").answer(table, readers)
    assert found is not None
    assert [one["key"] for one in found["top"]] == ["c", "b"]
    assert event_time(found["start"]) == 1080


async def test_what_a_table_cannot_say_is_said() -> None:
    (reader, *_) = await partitions("windows", TABLES["windows"](), [Event("a", 1.0)])
    with pytest.raises(CannotAnswerError, match="one of: amount, events, most"):
        Top().answer(TABLES["windows"](), [reader])
    with pytest.raises(CannotAnswerError, match="one of: amount, events, most"):
        Top(by="nothing").answer(TABLES["windows"](), [])
    with pytest.raises(CannotAnswerError, match="one of: none"):
        Top().answer(WindowTable("t", size=seconds(60), value=LastN("last", 3, at=event_time)), [])
    with pytest.raises(CannotAnswerError, match="after the calendar"):
        Top(by="events", at=event_time("9999-12-31T23:59:59Z")).answer(TABLES["windows"](), [reader])
    with pytest.raises(CannotAnswerError, match="cannot be ranked"):
        Top().answer(TABLES["values"](), [])
    with pytest.raises(CannotAnswerError, match="cannot be listed"):
        Keys().answer(TABLES["once"](), [])


@pytest.mark.parametrize("name", LISTED)
async def test_a_bounded_read_answers_as_a_snapshot_does_or_not_at_all(name: str) -> None:
    events = [Event(KEYS[n % 7], n * 5.5, n % 9 + 1) for n in range(300)]
    table, store = TABLES[name](), MemoryStore({})
    position, rows = await filled(name, table, events, store)
    answered = 0
    for question in [ByKey(key) for key in [*KEYS, "none"]] + [Keys(), Keys("/none")]:
        wanted = question.answer(table, [Committed(0, position.watermark, rows)])
        with suppress(TooMuchError):
            assert question.answer(table, [Committed(0, position.watermark, BoundedRead(store))]) == wanted
            answered += 1
    assert answered >= len(KEYS)


@pytest.mark.parametrize("name", LISTED)
async def test_rows_on_disk_answer_as_those_in_memory(name: str, tmp_path: Path) -> None:
    events = [Event(KEYS[n % 7], n * 5.5, n % 9 + 1) for n in range(60)]
    table = TABLES[name]()
    stores = [Store(tmp_path / "s"), MemoryStore({})]
    answers = []
    for store in stores:
        position, rows = await filled(name, table, events, store)
        reader = Committed(0, position.watermark, rows)
        questions: list[Query] = [Keys(limit=3), Keys("/a", limit=100), *map(ByKey, KEYS)]
        answers.append([question.answer(table, [reader]) for question in questions])
        rows.close()
        store.close()
    assert answers[0] == answers[1]
