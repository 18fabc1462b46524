"""What a state reads while its changes wait for their commit."""

import random
from pathlib import Path

import pytest

from millstream.state.replica import Changes
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.test_state import at, changes, owner, rows_of


async def test_a_row_that_was_written_last_is_read_from_memory(tmp_path: Path) -> None:
    state = owner(MemoryLog(), tmp_path)
    await state.acquire()
    for value in (b"1", b"2", b"x" * 1000, None, b"3"):
        made = changes(x=value, y=b"1")
        state.stage(made)
        assert state.get_many([b"t\0x", b"t\0z"]) == [value, None]
        await state.commit(made, at(10))
        state.applied([made])
        assert state.get_many([b"t\0z", b"t\0x", b"dt\0x", b"t\0y"]) == [
            None,
            value,
            value and value * 2,
            b"1",
        ]
    state._store.get_many = lambda keys: pytest.fail(f"{keys} were read")  # type: ignore[method-assign]
    assert state.get_many([b"t\0y", b"t\0x"]) == [b"1", b"3"]


async def test_few_rows_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.state.state.RECENT_ROWS", 4)
    state = owner(MemoryLog(), tmp_path)
    await state.acquire()
    for n in range(20):
        made = changes(**{f"a{n}": b"1", f"b{n}": b"x" * 1000})
        state.stage(made)
        await state.commit(made, at(n))
        state.applied([made])
        assert 0 < len(state._latest) <= 5
        assert not any(b"x" in value for value in state._latest.values())
    assert state.get_many([b"t\0a0", b"t\0b0", b"t\0a19"]) == [b"1", b"x" * 1000, b"1"]


async def test_reads_are_of_what_was_staged_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is committed and forgotten meanwhile."""
    monkeypatch.setattr("millstream.state.state.RECENT_ROWS", 6)
    choose = random.Random(3)
    state = owner(MemoryLog(), tmp_path)
    await state.acquire()
    values: list[bytes | None] = [None, b"1", b"22", b"x" * 70, b"y" * 200]
    right: dict[bytes, bytes | None] = {}
    staged: list[Changes] = []
    for n in range(600):
        made = changes(**{f"k{choose.randrange(12)}": choose.choice(values) for _ in range(3)})
        state.stage(made)
        staged.append(made)
        right |= made.rows | made.derived
        keys = choose.sample(sorted(right), min(len(right), 8))
        assert state.get_many(keys) == [right[key] for key in keys]
        if choose.random() < 0.4:
            group = [staged.pop(0) for _ in range(choose.randint(1, len(staged)))]
            both = Changes()
            for one in group:
                both.update(one)
            await state.commit(both, at(n))
            assert state.get_many(keys) == [right[key] for key in keys]
            state.applied(group)
            assert state.get_many(keys) == [right[key] for key in keys]
    assert sum(map(len, filter(None, state._latest.values()))) < 2000


async def test_what_was_kept_in_memory_is_not_taken_for_what_the_log_says(tmp_path: Path) -> None:
    log = MemoryLog()
    first = owner(log, tmp_path / "a")
    await first.acquire()
    await first.commit(changes(x=b"1"), at(10))
    second = owner(log, tmp_path / "b")
    await second.acquire()
    await second.commit(changes(x=b"2"), at(20))
    second.close()
    await first.acquire()
    assert first.get_many([b"t\0x"]) == [b"2"]


async def test_staged_changes_are_read_before_they_are_committed(tmp_path: Path) -> None:
    state = owner(MemoryLog(), tmp_path / "a")
    await state.acquire()
    first, second = changes(x=b"1", y=b"1"), changes(x=None)
    state.stage(first)
    state.stage(second)
    keys = [b"t\0x", b"t\0y", b"t\0z"]
    assert state.get_many(keys) == [None, b"1", None]
    await state.commit(first, at(1))
    state.applied([first])
    assert state.get_many(keys) == [None, b"1", None]
    await state.commit(second, at(2))
    state.applied([second])
    assert state.get_many(keys) == [None, b"1", None]
    assert rows_of(state) == {"y": b"1"}


async def test_staged_changes_are_scanned_before_they_are_committed(tmp_path: Path) -> None:
    state = owner(MemoryLog(), tmp_path / "a")
    await state.acquire()
    await state.commit(changes(a=b"1", b=b"1", d=b"1"), at(1))
    first, second = changes(b=None, c=b"2"), changes(e=b"3")
    first.derived[b"t\0aa"] = b"2"
    second.ranges.append((b"t\0d", b"t\0e"))
    for staged in (first, second):
        state.stage(staged)
    right = [(b"t\0a", b"1"), (b"t\0aa", b"2"), (b"t\0c", b"2"), (b"t\0e", b"3")]
    assert list(state.scan(b"t\0", b"t\1")) == right
    assert list(state.scan(b"t\0aa", b"t\0e")) == right[1:3]
    for staged in (first, second):
        await state.commit(staged, at(2))
        state.applied([staged])
    assert list(state.scan(b"t\0", b"t\1")) == list(state.scan_committed(b"t\0", b"t\1")) == right
