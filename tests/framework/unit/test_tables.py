"""Table types on real RocksDB and a log in memory, compared with a plain computation."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.errors import DeclarationError
from millstream.state.errors import FencedError
from millstream.state.log import Position
from millstream.state.replica import Changes
from millstream.state.state import State
from millstream.state.store import Store
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.table import Range
from millstream.tables.windows import Window, WindowTable
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.cuts import Reader

TTL = 100


@dataclass
class Event:
    event_id: str
    timestamp: float
    page: str = "/"


@dataclass
class Batch:
    """Events of one partition in a commit; see `millstream.tables.table.Batch` and `.Commit`."""

    state: State
    events: Sequence[Event]
    first: int
    partition: int = 0
    index: int = -1
    folds: list[Callable[[Changes], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watermark = self.state.position.watermark
        self.origins = list(range(self.first, self.first + len(self.events)))
        self.serial = self.first + len(self.events)
        times = (event.timestamp for event in self.events)
        self.watermarks = list(itertools.accumulate(times, max, initial=self.watermark))[1:]
        self.read = self.state.get_many
        self.cache = self.state.cache
        self.get_committed = self.state.get_committed
        self.scan_committed = self.state.scan_committed
        self.at_end = lambda _table, fold: self.folds.append(fold)

    def __iter__(self) -> Any:
        return self.pick(range(len(self.events)))

    def pick(self, indices: Iterable[int]) -> Any:
        for self.index in indices:
            yield self.events[self.index]

    @property
    def offset(self) -> int:
        return self.first + self.index

    def repeated(self, table: str, count: int) -> None:
        assert (table, count > 0) == ("seen", True)

    async def commit(self) -> None:
        changes = Changes()
        for fold in self.folds:
            fold(changes)
        await self.state.commit(
            changes, Position({"t": self.serial}, max([self.watermark, *self.watermarks]))
        )


async def state_of(log: MemoryLog, path: Path, *tables: Any) -> State:
    state = State(log, Store(path), tables)
    await state.acquire()
    return state


def cut(events: Sequence[Event], sizes: Iterable[int]) -> Iterable[tuple[int, Sequence[Event]]]:
    """Yield (first offset, events) of batches with the sizes, repeated."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(events):
            return
        yield start, events[start : start + size]
        start += size


def first_occurrences(events: Sequence[Event]) -> list[int]:
    """Return the indices of the events that are no duplicates, straight from the definition."""
    remembered: dict[str, float] = {}
    found, watermark = [], 0.0
    for i, event in enumerate(events):
        watermark = max(watermark, event.timestamp)
        if remembered.get(event.event_id, -1.0) <= watermark:
            remembered[event.event_id] = watermark + TTL
            found.append(i)
    return found


event_lists = st.lists(
    st.builds(Event, st.sampled_from(["a", "b", "c", "d", "a\0", ""]), st.integers(0, 450).map(float)),
    max_size=60,
)
sizes = st.lists(st.integers(1, 9), min_size=1, max_size=4)
slow = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(
    events=event_lists,
    sizes=sizes,
    lose_disk=st.booleans(),
    restart=st.integers(1, 5),
    read=st.sampled_from([1, 2_000]),
)
@slow
async def test_seen_is_its_definition_however_the_events_are_cut(
    events: list[Event],
    sizes: list[int],
    lose_disk: bool,
    restart: int,
    read: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Of the ids that were there at a start, few or all are known to the filters with the first batch.
    monkeypatch.setattr("millstream.tables.dedup.READ_AHEAD", 0)
    monkeypatch.setattr("millstream.tables.dedup.READ_LEAST", read)
    log, table, folder = (
        MemoryLog(),
        DedupTable("seen", ttl=timedelta(seconds=TTL)),
        tmp_path_factory.mktemp("seen"),
    )
    state = await state_of(log, folder / "0", table)
    found: list[int] = []
    for number, (first, part) in enumerate(cut(events, sizes), 1):
        batch = Batch(state, part, first)
        for _ in table.open(batch).first(batch):
            found.append(batch.offset)  # noqa: PERF401 (the batch moves on with the loop)
        await batch.commit()
        if number % restart == 0:
            state.close()
            log.compact()
            state = await state_of(log, folder / (f"{number}" if lose_disk else "0"), table)
    assert found == first_occurrences(events)
    info = table.info([Reader(state)])
    assert (info["first_sightings"], info["duplicates"]) == (len(found), len(events) - len(found))
    state.close()


async def test_seen_is_right_when_its_filters_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.tables.bloom.FIRST_KEYS", 3)
    monkeypatch.setattr("millstream.tables.bloom.BITS_PER_KEY", 1)  # many ids are taken for others
    state = await state_of(
        MemoryLog(), tmp_path / "a", table := DedupTable("seen", ttl=timedelta(seconds=TTL))
    )
    events = [Event(f"e{n * n % 97}", n / 2) for n in range(400)]
    found: list[int] = []
    for first, part in cut(events, [7]):
        batch = Batch(state, part, first)
        for _ in table.open(batch).first(batch):
            found.append(batch.offset)  # noqa: PERF401 (as above)
        await batch.commit()
    assert found == first_occurrences(events)
    state.close()


async def test_few_new_ids_are_looked_up_soon_after_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, table = MemoryLog(), DedupTable("seen", ttl=timedelta(seconds=TTL))
    monkeypatch.setattr("millstream.tables.dedup.READ_LEAST", 200)
    monkeypatch.setattr("millstream.tables.dedup.READ_AHEAD", 1)
    state = await state_of(log, tmp_path / "a", table)
    for first, part in cut([Event(f"e{n}", 0.0) for n in range(1000)], [50]):
        batch = Batch(state, part, first)
        list(table.open(batch).first(batch))
        await batch.commit()
    state.close()
    state = await state_of(log, tmp_path / "a", table)
    looked_up, passed = [], 0

    def read(keys: Sequence[bytes]) -> list[bytes | None]:
        looked_up[-1] += len(keys)
        return state.get_many(keys)

    for first in range(1000, 2000, 50):
        batch = Batch(state, [Event(f"e{n}", 0.0) for n in range(first - 10, first + 50)], first)
        batch.read = read
        looked_up.append(0)
        passed += len(list(table.open(batch).first(batch)))
        await batch.commit()
    state.close()
    assert passed == 20 * 50  # ten of each batch were in the one before it
    assert looked_up[0] >= 60
    assert all(number < 20 for number in looked_up[15:]), looked_up  # the ten, and some by mistake


async def test_seen_forgets_and_frees(tmp_path: Path) -> None:
    log, table = MemoryLog(), DedupTable("seen", ttl=timedelta(seconds=TTL))
    state = await state_of(log, tmp_path / "a", table)
    for n in range(50):
        batch = Batch(state, [Event(f"e{n}", n * 30.0)], n)
        assert len(list(table.open(batch).first(batch))) == 1
        await batch.commit()
    rows = list(state.scan_committed(b"seen\0i", b"seen\1"))
    assert len(rows) < 20  # packs and ids of two buckets, of fifty
    assert table.find(Reader(state), "e0") is None
    found = table.find(Reader(state), "e49")
    assert found is not None
    assert (found.offset, found.timestamp) == (49, 49 * 30.0)
    log.compact()
    again = await state_of(log, tmp_path / "b", table)
    assert [k for k, _ in again.scan_committed(b"seen\0i", b"seen\0j")] == [
        k for k, _ in state.scan_committed(b"seen\0i", b"seen\0j")
    ]


async def test_seen_answers_queries(tmp_path: Path) -> None:
    table = DedupTable("seen", ttl=timedelta(seconds=TTL))
    state = await state_of(MemoryLog(), tmp_path / "a", table)
    batch = Batch(state, [Event("e", 1000.0)], 7)
    list(table.open(batch).first(batch))
    await batch.commit()
    assert table.query([Reader(state, 2)], "e", Range()) == {
        "partition": 2,
        "offset": 7,
        "timestamp": "1970-01-01T00:16:40Z",
        "expires": "1970-01-01T00:18:20Z",
    }
    assert table.query([Reader(state)], "other", Range()) is None


pages = st.sampled_from(["/", "/a", "/a\0", "/ä", "/a\0\0\0\0\0\0\0\0\0"])


@given(
    events=st.lists(st.builds(Event, st.just("e"), st.integers(0, 400).map(float), pages), max_size=60),
    sizes=sizes,
)
@slow
async def test_windows_count_what_is_there_however_the_events_are_cut(
    events: list[Event], sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = WindowTable("views", size=timedelta(minutes=1), value=Count("views"))
    state = await state_of(MemoryLog(), tmp_path_factory.mktemp("windows") / "0", table)
    updates: dict[tuple[str, int], Window] = {}
    origins: dict[tuple[str, int], int] = {}
    for first, part in cut(events, sizes):
        batch = Batch(state, part, first)

        def update(window: Window, batch: Batch = batch) -> None:
            updates[window.key, window.start] = window
            origins[window.key, window.start] = batch.offset

        views = table.open(batch, changed=update)
        for event in batch:
            views.add(event.page, 1, at=event.timestamp)
        await batch.commit()
    right = Counter((e.page, int(e.timestamp // 60) * 60) for e in events)
    assert {key: window.result["views"] for key, window in updates.items()} == right
    assert origins == {(e.page, int(e.timestamp // 60) * 60): i for i, e in enumerate(events)}
    for page in {e.page for e in events}:
        assert dict(table.panes(Reader(state), page, 60, 240)) == {
            start: count for (key, start), count in right.items() if key == page and 60 <= start < 240
        }
    state.close()


async def test_windows_answer_queries_over_partitions(tmp_path: Path) -> None:
    table = WindowTable("views", size=timedelta(minutes=1), value=Count("views"))
    readers = []
    for n in range(2):
        state = await state_of(MemoryLog(), tmp_path / str(n), table)
        batch = Batch(state, [Event("e", t) for t in (0.0, 59.0, 60.0, 200.0)], 0)
        views = table.open(batch)
        for event in batch:
            views.add(event.page, 1, at=event.timestamp)
        await batch.commit()
        readers.append(Reader(state, n))
    assert table.query(readers, "/", Range(limit=2)) == {
        "windows": [
            {"start": "1970-01-01T00:00:00Z", "end": "1970-01-01T00:01:00Z", "views": 4},
            {"start": "1970-01-01T00:01:00Z", "end": "1970-01-01T00:02:00Z", "views": 2},
        ],
        "total": {"views": 8},
        "next": "1970-01-01T00:03:00Z",
    }
    assert table.query(readers, "/", Range(start=60, end=120))["total"] == {"views": 2}
    assert table.query(readers, "/none", Range()) == {"windows": [], "total": {"views": 0}}


def test_a_window_has_whole_seconds() -> None:
    with pytest.raises(DeclarationError, match="positive number of whole seconds"):
        WindowTable("t", size=timedelta(milliseconds=1500), value=Count())


async def test_a_zombies_identities_take_none_of_the_owners_with_them(tmp_path: Path) -> None:
    log, table = MemoryLog(), DedupTable("seen", ttl=timedelta(seconds=TTL))
    events = [Event(f"e{n}", 1000.0 + n) for n in range(30)]

    async def see(state: State, first: int, last: int) -> int:
        batch = Batch(state, events[first:last], first)
        found = list(table.open(batch).first(batch))
        await batch.commit()
        return len(found)

    zombie = await state_of(log, tmp_path / "zombie", table)
    await see(zombie, 0, 10)
    heir = await state_of(log, tmp_path / "heir", table)
    with pytest.raises(FencedError):
        await see(zombie, 10, 17)  # a batch that is cut where none of the heir's is
    assert await see(heir, 10, 20) == 10  # finds the zombie's, and has Kafka forget it
    restored = await state_of(log, tmp_path / "restored", table)
    assert await see(restored, 0, 30) == 10
    log.compact()
    again = await state_of(log, tmp_path / "again", table)
    assert await see(again, 0, 30) == 0


async def test_expired_identities_leave_the_disk_also_in_a_restore(tmp_path: Path) -> None:
    log, table = MemoryLog(), DedupTable("seen", ttl=timedelta(seconds=TTL))
    state = await state_of(log, tmp_path / "a", table)
    for n in range(50):
        batch = Batch(state, [Event(f"e{n}", 1000.0 + n * TTL / 5)], n)
        list(table.open(batch).first(batch))
        await batch.commit()
    restored = await state_of(log, tmp_path / "b", table)
    held = [[key for key, _ in s.scan_committed(b"seen\0i", b"seen\0j")] for s in (state, restored)]
    assert held[0] == held[1]
    assert 5 <= len(held[0]) <= 11
