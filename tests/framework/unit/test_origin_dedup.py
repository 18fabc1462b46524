"""Each origin is taken once, in whatever order and however often it comes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import millstream.tables.origin_dedup
from millstream.tables.origin_dedup import OriginDedupTable
from millstream.tables.table import Range
from tests.framework.unit.cuts import Commit, Cuts, Reader, Runner, cuts


class Event(NamedTuple):
    source: bytes | None
    offset: int


class Made:
    """A batch of events that another agent has sent."""

    def __init__(self, commit: Commit[Event]) -> None:
        self.events: Sequence[Event] = commit.events
        self.sources = [None if one.source is None else (one.source, one.offset) for one in commit.events]
        self.origins: Sequence[int] = ()
        self.watermarks: Sequence[float] = ()

    def pick(self, indices: Any) -> Any:
        return (self.events[i] for i in indices)


events = st.lists(
    st.builds(
        Event,
        st.sampled_from([b"t/0", b"t/1", b"other/0", None]),
        st.sampled_from([0, 1, 7, 8, 4095, 4096, 4097, 9000]) | st.integers(0, 20),
    ),
    max_size=80,
)
slow = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(made=events, how=cuts)
@slow
async def test_each_origin_is_taken_once(
    made: list[Event], how: Cuts, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = OriginDedupTable("once")
    runner = Runner(tmp_path_factory.mktemp("once"), table)
    taken: list[Event] = []
    async for commit in runner.run(made, lambda _: 0.0, how):
        taken += table.open(commit).first(Made(commit))
    seen: set[Event] = set()
    right = [one for one in made if one.source is None or not (one in seen or seen.add(one))]  # type: ignore[func-returns-value] # the idiom
    assert taken == right
    if made:
        reader = Reader(runner.state, 3)
        for source in ("t/0", "t/1"):
            for offset in (0, 8, 4096, 5000):
                known = Event(source.encode(), offset) in seen
                answer = table.query([reader], f"{source}/{offset}", Range())
                assert answer == ({"partition": 3} if known else None)
        assert table.query([reader], "nonsense", Range()) is None
        runner.state.close()


async def test_old_blocks_are_dropped(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(millstream.tables.origin_dedup, "BLOCKS_KEPT", 3)
    table = OriginDedupTable("once")
    runner = Runner(tmp_path_factory.mktemp("once"), table)
    made = [Event(b"t/0", offset) for offset in range(0, 40 * 4096, 1000)]
    taken: list[Event] = []
    async for commit in runner.run(made, lambda _: 0.0, Cuts([10], 1, 5, lose_disk=True)):
        taken += table.open(commit).first(Made(commit))
    assert taken == made
    assert len(list(runner.state.scan_committed(b"once\0", b"once\1"))) == 3
    runner.state.close()


@pytest.mark.parametrize("key", ["t/0/²", "t/0/٣", "t/0/9999999999999999999", "t/0/-1", "t/0/", "0", "", "/"])
def test_an_invalid_origin_was_not_taken(key: str) -> None:
    class NotRead:
        def get_committed(self, key: bytes) -> bytes | None:
            return None

    assert OriginDedupTable("once").query([NotRead()], key, Range()) is None  # type: ignore[list-item] # enough of one
