"""RocksDB: what a killed process leaves behind, and what queries see of it."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rocksdict import DbClosedError

from millstream.state.snapshot import PEEK_BYTES, ROW_BYTES, BoundedRead, ClosedError, TooMuchError
from millstream.state.store import NICER, TOGETHER_ROWS, Store

ROWS = 60_000
# Row n, and in the same write the number of the last row: what a commit looks like.
FILL = f"""
import os, sys
from pathlib import Path
from millstream.state.store import Store
store = Store(Path(sys.argv[1]))
for n in range({ROWS}):
    store.write({{b"row%06d" % n: bytes(1000), b"last": b"%d" % n}})
"""


def _run(script: str, path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False, timeout=60)
    assert done.returncode == 9


def test_a_killed_process_leaves_all_rows_up_to_one_and_none_behind(tmp_path: Path) -> None:
    _run(FILL + "os._exit(9)", tmp_path / "s")
    store = Store(tmp_path / "s")
    last = int(store.get(b"last") or 0)
    assert 99 <= last < ROWS - 1  # some were flushed, and the newest were not
    assert [key for key, _ in store.scan(b"row", b"rox")] == [b"row%06d" % n for n in range(last + 1)]
    store.close()


def test_all_rows_are_on_disk_when_it_is_closed(tmp_path: Path) -> None:
    _run(FILL + "store.close(); os._exit(9)", tmp_path / "s")
    store = Store(tmp_path / "s")
    assert store.get(b"last") == b"%d" % (ROWS - 1)
    store.close()


# Files may not be larger than a megabyte, as if the disk were full: memtables cannot be flushed.
FILL_UP = f"""
import os, resource, sys
from pathlib import Path
from millstream.state.store import Store
store = Store(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
for n in range({ROWS}):
    try:
        store.write({{b"row%06d" % n: bytes(1000), b"last": b"%d" % n}}, {{b"derived": b"%d" % n}})
    except Exception:  # rocksdict raises no other
        break
last = b"%d" % (n - 1)
assert n < {ROWS} - 1
assert store.get_many([b"row%06d" % (n - 1), b"row%06d" % n]) == [bytes(1000), None]
assert [store.get(key) for key in (b"last", b"derived")] == [last, last]
os._exit(9)
"""


def test_of_a_write_that_fails_nothing_is_seen(tmp_path: Path) -> None:
    _run(FILL_UP, tmp_path / "s")


def test_what_is_written_is_seen_before_rocksdb_has_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.write({b"a": b"1", b"b": b"2"})
    list(store.scan(b"a", b"c"))  # so that RocksDB has these
    store.write({b"a": None, b"c": b"3"}, {b"d": b"4"})
    assert [store.get(key) for key in (b"a", b"b", b"c", b"d")] == [None, b"2", b"3", b"4"]
    assert store.get_many([b"d", b"a", b"x", b"b"]) == [b"4", None, None, b"2"]
    store.write({b"e": b"5"}, None, [(b"b", b"d")])
    assert list(store.scan(b"a", b"z")) == [(b"d", b"4"), (b"e", b"5")]
    store.close()


def test_of_two_writes_of_a_row_the_later_counts(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.write({b"changed": b"1", b"deleted": b"1", b"kept": b"1"})
    # So many that RocksDB has all of them with it.
    store.write({b"changed": b"2", b"deleted": None, **{b"row%04d" % n: b"" for n in range(TOGETHER_ROWS)}})
    assert store.get_many([b"changed", b"deleted", b"kept"]) == [b"2", None, b"1"]
    store.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux have threads priorities of their own")
def test_rocksdbs_threads_give_way_to_the_pipeline_but_to_others_not_for_good(tmp_path: Path) -> None:
    Store(tmp_path / "rows").close()
    priorities: dict[str, int] = {}
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            name = (thread / "comm").read_text().strip()
            priorities[name] = os.getpriority(os.PRIO_PROCESS, int(thread.name))
    nice = os.getpriority(os.PRIO_PROCESS, os.getpid())
    assert {priorities["rocksdb:low"], priorities["rocksdb:high"]} == {min(19, nice + NICER)}
    assert min(priorities.values()) == nice


def test_few_rows_are_on_disk_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.state.store.FLUSH_SECONDS", 0.1)
    store = Store(tmp_path / "s")
    store.write({b"a": b"1"})
    assert store.sizes().disk == 0
    time.sleep(0.2)
    store.write({b"b": b"2"})
    deadline = time.monotonic() + 10
    while not store.sizes().disk:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store.close()


def test_a_snapshot_stays_as_it_is(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.write({b"a": b"1", b"b": b"2", b"d": b"4"})
    rows = store.snapshot()
    store.write({b"a": b"9", b"b": None, b"c": b"3"})
    assert [rows.get(key) for key in (b"a", b"b", b"c")] == [b"1", b"2", None]
    assert list(rows.scan(b"a", b"d")) == [(b"a", b"1"), (b"b", b"2")]
    assert [rows.last(*ends) for ends in ((b"a", b"d"), (b"a", b"z"), (b"bb", b"d"), (b"x", b"z"))] == [
        (b"b", b"2"),
        (b"d", b"4"),
        None,
        None,
    ]
    rows.close()
    store.close()


def test_a_snapshot_is_of_one_write(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.write({b"a": b"0", b"b": b"0"})
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            store.write({b"a": b"%d" % number, b"b": b"%d" % number})

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(2000):
        rows = store.snapshot()
        seen = {rows.get(b"a"), *(value for _, value in rows.scan(b"a", b"c")), rows.get(b"b")}
        assert len({*seen, (rows.last(b"a", b"c") or (b"", b""))[1]}) == 1
        rows.close()
    ended.set()
    writer.join()
    store.close()


def test_two_scans_of_a_snapshot_do_not_disturb_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.write({b"row%d" % n: b"%d" % n for n in range(10)})
    rows = store.snapshot()
    pairs = list(zip(rows.scan(b"row2", b"row6"), rows.scan(b"row5", b"row9"), strict=True))
    assert [(a[1], b[1]) for a, b in pairs] == [(b"2", b"5"), (b"3", b"6"), (b"4", b"7"), (b"5", b"8")]
    first = rows.scan(b"row0", b"row9")
    next(first)
    rows.last(b"row0", b"row9")
    assert next(first) == (b"row1", b"1")
    rows.close()
    store.close()


def test_a_database_is_closed_when_nobody_reads_it_any_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.write({b"row%06d" % n: b"" for n in range(50_000)})
    reading, closed = threading.Event(), threading.Event()
    left: list[object] = []

    def read() -> None:
        rows = store.snapshot()
        left.append(rows.scan(b"row", b"rox"))  # somebody has not come to its end
        next(left[0])  # type: ignore[call-overload] # a generator
        try:
            while True:
                for _ in rows.scan(b"row", b"rox"):
                    reading.set()
        except ClosedError:
            closed.set()
        finally:
            rows.close()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(10)
    store.close()
    assert closed.is_set()
    with pytest.raises(ClosedError):
        store.snapshot()
    again = Store(tmp_path / "s")  # it would be locked
    assert again.get(b"row000000") == b""
    again.close()
    reader.join()


def test_a_glance_is_at_a_few_rows(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    most = PEEK_BYTES // ROW_BYTES
    store.write({b"row%06d" % n: b"" for n in range(most + 1)})
    store.write({b"large": bytes(PEEK_BYTES - ROW_BYTES), b"larger": bytes(PEEK_BYTES)})
    assert [key for key, _ in BoundedRead(store).scan(b"row", b"row%06d" % most)][-1] == b"row%06d" % (
        most - 1
    )
    with pytest.raises(TooMuchError):
        list(BoundedRead(store).scan(b"row", b"rox"))
    assert BoundedRead(store).get(b"large") == store.get(b"large")
    with pytest.raises(TooMuchError):
        BoundedRead(store).get(b"larger")
    rows = BoundedRead(store)
    assert [rows.get(b"none") for _ in range(most)] == [None] * most  # a look-up costs, whatever it finds
    with pytest.raises(TooMuchError):
        rows.get(b"none")
    store.close()
    for read in (BoundedRead(store).get, lambda key: list(BoundedRead(store).scan(key, b"z"))):
        with pytest.raises(DbClosedError):  # what a partition that moves away leaves
            read(b"row000000")
