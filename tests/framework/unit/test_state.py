"""The state log's rules: owners, zombies, compaction, lost disks. A plain dictionary says what is right."""

import random
import shutil
import time
from pathlib import Path

import pytest

from millstream.state.errors import FencedError, TooLargeError
from millstream.state.log import POSITION, Entry, Position
from millstream.state.replica import OLDEST_COPY, Changes, Replica
from millstream.state.state import State
from millstream.state.store import DataDirectory, DirectoryTakenError, Store
from tests.framework.memory_log import MemoryLog


class Rows:
    """A table of plain rows."""

    name = "t"
    derived = b"dt"

    def derive(self, key: bytes, value: bytes | None, changes: Changes) -> None:
        changes.derived[b"d" + key] = None if value is None else value * 2


def owner(log: MemoryLog, path: Path) -> State:
    return State(log, Store(path), [Rows()])


def changes(**rows: bytes | None) -> Changes:
    made = Changes()
    for key, value in rows.items():
        Rows().derive(b"t\0" + key.encode(), value, made)
        made.rows[b"t\0" + key.encode()] = value
    return made


def raising(*_: object) -> None:
    raise OSError("the disk is full")


def at(offset: int) -> Position:
    return Position({"source": offset}, float(offset))


def rows_of(state: State) -> dict[str, bytes | None]:
    return {key[2:].decode(): value for key, value in state.scan_committed(b"t\0", b"t\1")}


async def test_commit_is_seen_by_the_next_owner_on_another_disk(tmp_path: Path) -> None:
    log = MemoryLog()
    first = owner(log, tmp_path / "a")
    await first.acquire()
    await first.commit(changes(x=b"1", y=b"2"), at(10))
    await first.commit(changes(x=None, z=b"3"), at(20))
    second = owner(log, tmp_path / "b")
    await second.acquire()
    assert rows_of(second) == rows_of(first) == {"y": b"2", "z": b"3"}
    assert second.position == at(20)
    assert second.get_committed(b"dt\0z") == b"33"
    assert second.get_committed(b"dt\0x") is None


async def test_same_disk_reads_only_what_is_new(tmp_path: Path) -> None:
    log = MemoryLog()
    state = owner(log, tmp_path / "a")
    await state.acquire()
    await state.commit(changes(x=b"1"), at(1))
    state.close()
    again = owner(log, tmp_path / "a")
    await again.acquire()
    assert (again.progress.records, rows_of(again), again.position) == (0, {"x": b"1"}, at(1))


async def test_zombie_is_fenced_and_its_commit_does_not_count(tmp_path: Path) -> None:
    log = MemoryLog()
    zombie, heir = owner(log, tmp_path / "a"), owner(log, tmp_path / "b")
    await zombie.acquire()
    await zombie.commit(changes(x=b"1"), at(1))
    await heir.acquire()
    with pytest.raises(FencedError):
        await zombie.commit(changes(x=b"zombie", w=b"zombie"), at(5))
    assert rows_of(heir) == {"x": b"1"}
    await heir.commit(changes(y=b"2"), at(2))  # meets the zombie's commit, and sends its own rows again
    log.compact()
    third = owner(log, tmp_path / "c")
    await third.acquire()
    assert rows_of(third) == rows_of(heir) == {"x": b"1", "y": b"2"}
    assert third.position == at(2)


async def test_repair_is_not_forgotten_in_a_crash(tmp_path: Path) -> None:
    log = MemoryLog()
    zombie, heir = owner(log, tmp_path / "a"), owner(log, tmp_path / "b")
    await zombie.acquire()
    await heir.acquire()
    with pytest.raises(FencedError):
        await zombie.commit(changes(x=b"zombie"), at(5))
    heir.close()  # a crash before it has met the zombie's commit
    again = owner(log, tmp_path / "b")
    await again.acquire()
    log.compact()
    fresh = owner(log, tmp_path / "c")
    await fresh.acquire()
    assert rows_of(fresh) == rows_of(again) == {}


async def test_too_large_commit_changes_nothing(tmp_path: Path) -> None:
    state = owner(MemoryLog(max_entries=2), tmp_path / "a")
    await state.acquire()
    with pytest.raises(TooLargeError):
        await state.commit(changes(x=b"1", y=b"1"), at(1))
    assert (rows_of(state), state.position) == ({}, Position())
    await state.commit(changes(x=b"1"), at(1))
    assert rows_of(state) == {"x": b"1"}


async def test_what_could_not_be_written_is_read_from_the_log(tmp_path: Path) -> None:
    log = MemoryLog()
    first = owner(log, tmp_path / "a")
    await first.acquire()
    await first.commit(changes(x=b"1", y=b"1"), at(1))
    second = owner(log, tmp_path / "b")
    for state, step in ((first, first.commit(changes(x=b"2"), at(2))), (second, second.acquire())):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(state._store, "_give", raising)
            patch.setattr("millstream.state.store.TOGETHER_WRITES", 1)
            with pytest.raises(OSError, match="full"):
                await step
        await state.acquire()
        assert (rows_of(state), state.position) == ({"x": b"2", "y": b"1"}, at(2))


async def test_disk_from_another_log_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = owner(MemoryLog(), tmp_path / "a")
    await old.acquire()
    for n in range(10):
        await old.commit(changes(x=b"%d" % n), at(n))
    old.close()
    state = owner(MemoryLog(), tmp_path / "a")
    await state.acquire()
    assert (rows_of(state), state.position) == ({}, Position())
    assert "is ahead of its state log" in caplog.text


async def test_disk_behind_the_start_of_the_log_is_rebuilt(tmp_path: Path) -> None:
    log = MemoryLog()
    state = owner(log, tmp_path / "a")
    await state.acquire()
    await state.commit(changes(x=b"1", y=b"1"), at(1))
    state.close()
    log.records = []
    log.end = 100
    await log.append([Entry(b"t\0z", b"\0" * 8 + b"1", [])])
    again = owner(log, tmp_path / "a")
    await again.acquire()
    assert rows_of(again) == {"z": b"1"}


async def test_disk_of_a_log_made_anew_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    old = owner(MemoryLog(topic_id="old"), tmp_path / "a")
    await old.acquire()
    await old.commit(changes(x=b"1"), at(1))
    old.close()
    log = MemoryLog(topic_id="new")
    other = owner(log, tmp_path / "b")
    await other.acquire()
    for n in range(10):  # it is longer than the old one was: offsets alone would not tell
        await other.commit(changes(y=b"%d" % n), at(n))
    again = owner(log, tmp_path / "a")
    await again.acquire()
    assert (rows_of(again), again.position) == ({"y": b"9"}, at(9))
    assert "deleted and created again" in caplog.text


async def test_disk_that_may_have_missed_deletions_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MemoryLog()
    away, busy = owner(log, tmp_path / "a"), owner(log, tmp_path / "b")
    await away.acquire()
    await away.commit(changes(x=b"1", y=b"1"), at(1))
    long_ago = time.time() - OLDEST_COPY.total_seconds() - 60
    away._write({}, Changes(), away.next, away.epoch, long_ago)
    away.close()
    await busy.acquire()
    await busy.commit(changes(x=None), at(2))
    log.compact()
    log.records = [r for r in log.records if r.value is not None]  # after delete.retention.ms
    back = owner(log, tmp_path / "a")
    await back.acquire()
    assert rows_of(back) == {"y": b"1"}
    assert "was not used for" in caplog.text


@pytest.mark.parametrize("emptied", [False, True])
async def test_log_that_has_lost_its_beginning_is_made_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, emptied: bool
) -> None:
    log = MemoryLog()
    state = owner(log, tmp_path / "a")
    await state.acquire()
    await state.commit(changes(**{f"k{n}": b"%d" % n for n in range(50)}), at(1))
    await state.commit(changes(k0=b"new", k1=None), at(2))
    state.close()
    log.records = [] if emptied else log.records[-2:]
    state = owner(log, tmp_path / "a")
    await state.acquire()
    assert "all rows are sent to it again" in caplog.text
    heir = owner(log, tmp_path / "b")
    await heir.acquire()
    truth = {"k0": b"new"} | {f"k{n}": b"%d" % n for n in range(2, 50)}
    assert (rows_of(heir), heir.position, heir.lost) == (truth, at(2), None)
    assert heir.get_committed(b"dt\0k7") == b"77"
    sent = log.end
    state = owner(log, tmp_path / "c")
    await state.acquire()
    assert log.end == sent + 1  # a fence, and nothing else


async def test_log_and_disk_that_are_both_gone_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = MemoryLog()
    state = owner(log, tmp_path / "a")
    await state.acquire()
    await state.commit(changes(x=b"1"), at(1))
    log.records = []
    other = owner(log, tmp_path / "b")
    await other.acquire()
    assert (rows_of(other), other.position) == ({}, Position())
    assert other.lost is not None
    assert "no copy is here" in caplog.text


async def test_a_standby_holds_what_its_owner_has_committed(tmp_path: Path) -> None:
    log = MemoryLog()
    zombie, heir = owner(log, tmp_path / "a"), owner(log, tmp_path / "b")
    standby = Replica("", Store(tmp_path / "c"), [Rows()])

    async def follow() -> None:
        async for records in log.read(standby.next, log.end):
            standby.apply(records, records[-1].offset + 1)

    standby.fit(0, log.end)
    await zombie.acquire()
    await zombie.commit(changes(x=b"1", y=b"1"), at(1))
    await follow()
    await heir.acquire()
    with pytest.raises(FencedError):
        await zombie.commit(changes(x=b"zombie", w=b"zombie"), at(9))
    await follow()
    await heir.commit(changes(y=None), at(2))
    await follow()
    assert (dict(standby.scan_committed(b"t\0", b"t\1")), standby.position) == ({b"t\0x": b"1"}, at(2))
    assert standby.next == log.end
    standby.close()
    successor = owner(log, tmp_path / "c")
    await successor.acquire()
    assert (rows_of(successor), successor.progress.records) == ({"x": b"1"}, 0)


async def test_corrupt_disk_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    state = owner(log, tmp_path / "a")
    await state.acquire()
    await state.commit(changes(x=b"1"), at(1))
    state.close()
    for file in (tmp_path / "a").glob("MANIFEST*"):
        file.write_bytes(b"garbage")
    again = owner(log, tmp_path / "a")
    await again.acquire()
    assert (rows_of(again), again.position) == ({"x": b"1"}, at(1))
    assert "rebuilt from its state log" in caplog.text


@pytest.mark.parametrize("seed", range(40))
async def test_any_history_restores_what_the_owners_committed(seed: int, tmp_path: Path) -> None:
    """Owners come and go, on old and new disks; zombies write; the broker compacts; a dictionary is right."""
    rand = random.Random(seed)
    log = MemoryLog()
    truth: dict[str, bytes] = {}
    position = Position()
    current = owner(log, tmp_path / "first-disk")
    await current.acquire()
    zombies: list[State] = []
    for step in range(120):
        action = rand.choices(["commit", "takeover", "restart", "zombie", "compact"], [10, 1, 1, 3, 1])[0]
        if action == "commit":
            rows = {
                rand.choice("abcdefgh"): rand.choice([None, b"%d" % step]) for _ in range(rand.randint(1, 4))
            }
            await current.commit(changes(**rows), at(step))
            position = at(step)
            truth = {k: v for k, v in (truth | rows).items() if v is not None}
        elif action == "takeover":
            zombies.append(current)
            current = owner(log, tmp_path / f"disk{step}")
            await current.acquire()
        elif action == "restart":
            path = current._store.path
            current.close()
            if rand.random() < 0.3:
                shutil.rmtree(path)
            current = owner(log, path)
            await current.acquire()
        elif action == "zombie" and zombies:
            zombie = rand.choice(zombies)
            with pytest.raises(FencedError):
                await zombie.commit(changes(**{rand.choice("abcdefgh"): b"zombie"}), at(10_000))
            zombies.remove(zombie)
        elif action == "compact":
            # Never the last records: min.compaction.lag.ms keeps what an owner may still have to repair.
            seen_by_all = current.next
            log.compact(min(seen_by_all, log.end))
        assert (rows_of(current), current.position) == (truth, position)
    fresh = owner(log, tmp_path / "fresh")
    await fresh.acquire()
    assert (rows_of(fresh), fresh.position) == (truth, position)
    assert {key[3:].decode(): value for key, value in fresh.scan_committed(b"dt\0", b"dt\1")} == {
        key: value * 2 for key, value in truth.items()
    }


def test_data_directory_is_for_one_worker(tmp_path: Path) -> None:
    first = DataDirectory(tmp_path / "w")
    with pytest.raises(DirectoryTakenError, match="in use by another worker"):
        DataDirectory(tmp_path / "w")
    first.close()
    DataDirectory(tmp_path / "w").close()


def test_position_record_is_no_table_row() -> None:
    assert POSITION.partition(b"\0")[0] == b""
