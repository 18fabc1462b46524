"""Events given to tables as the engine does: cut into batches, committed some time later, with restarts."""

import itertools
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from hypothesis import strategies as st

from millstream.state.log import Position
from millstream.state.replica import Changes
from millstream.state.state import State
from millstream.state.store import Store
from tests.framework.memory_log import MemoryLog

E = TypeVar("E")


@dataclass(frozen=True)
class Cuts:
    """How events are cut.

    Attributes:
        sizes: numbers of events in the batches, again and again.
        depth: how many batches are staged before they are committed together.
        restart: after how many commits the state is opened again.
        lose_disk: whether on an empty disk.
    """

    sizes: Sequence[int]
    depth: int
    restart: int
    lose_disk: bool


cuts = st.builds(
    Cuts,
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
)


@dataclass
class Commit(Generic[E]):
    """The commit of a batch; see `millstream.tables.table.Commit`."""

    state: State
    events: Sequence[E]
    first: int
    watermark: float
    watermarks: Sequence[float]
    partition: int = 0
    index: int = -1
    late_ones: list[tuple[str, int, float]] = field(default_factory=list)
    repeats: list[tuple[str, int]] = field(default_factory=list)
    folds: list[Callable[[Changes], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.serial = self.first + len(self.events)
        self.read = self.state.get_many
        self.scan = self.state.scan
        self.cache = self.state.cache
        self.get_committed = self.state.get_committed
        self.scan_committed = self.state.scan_committed
        self.at_end = lambda _table, fold: self.folds.append(fold)

    def __iter__(self) -> Any:
        for i, event in enumerate(self.events):
            self.index = i
            yield event

    @property
    def offset(self) -> int:
        """Of the event that the agent is at."""
        return self.first + self.index

    def passed(self, at: float) -> None:
        self.index = bisect_left(self.watermarks, at)

    def repeated(self, table: str, count: int) -> None:
        self.repeats.append((table, count))

    def late(self, table: str, by: float) -> None:
        self.late_ones.append((table, self.offset, by))


class Runner:
    """Commits batches.

    Attributes:
        state: the state, also after the last batch.
        late: offset of the events that were late, by table.
    """

    state: State

    def __init__(self, folder: Path, *tables: Any) -> None:
        self.late: list[tuple[str, int]] = []
        self._folder = folder
        self._tables = tables
        self._log = MemoryLog()

    async def run(
        self, events: Sequence[E], times: Callable[[E], float], how: Cuts
    ) -> AsyncIterator[Commit[E]]:
        """Yield a commit for each batch, to be worked on."""
        disk, commits = 0, 0
        await self._open(disk)
        staged: list[Changes] = []
        watermark, start = 0.0, 0
        for size in itertools.cycle(how.sizes):
            part = events[start : start + size]
            if not part:
                break
            marks = list(itertools.accumulate(map(times, part), max, initial=watermark))[1:]
            commit = Commit(self.state, part, start, watermark, marks)
            yield commit
            changes = Changes()
            for fold in commit.folds:
                fold(changes)
            self.late += [(table, offset) for table, offset, _ in commit.late_ones]
            self.state.stage(changes)
            staged.append(changes)
            watermark, start = marks[-1], start + len(part)
            if len(staged) == how.depth or start >= len(events):
                await self._commit(staged, start, watermark)
                staged = []
                commits += 1
                if commits % how.restart == 0:
                    self.state.close()
                    self._log.compact()
                    disk += how.lose_disk
                    await self._open(disk)

    async def fill(self, table: Any, events: Sequence[Any], how: Cuts) -> None:
        """Add events with `key` and `time` to a table of windows."""
        async for commit in self.run(events, lambda event: event.time, how):
            opened = table.open(commit)
            for event in commit:
                opened.add(event.key, event, at=event.time)

    async def _open(self, disk: int) -> None:
        self.state = State(self._log, Store(self._folder / str(disk)), self._tables)
        await self.state.acquire()

    async def _commit(self, staged: Iterable[Changes], position: int, watermark: float) -> None:
        together = Changes()
        for changes in staged:
            together.update(changes)
        await self.state.commit(together, Position({"t": position}, watermark))
        self.state.applied(list(staged))


@dataclass
class Reader:
    """See `millstream.tables.table.Reader`."""

    state: State
    partition: int = 0

    def __post_init__(self) -> None:
        self.watermark = self.state.position.watermark
        self.get_committed = self.state.get_committed
        self.scan_committed = self.state.scan_committed
