"""Writes to RocksDB that a killed process leaves behind."""

import subprocess
import sys
from pathlib import Path

from tables.store import Store

ROWS = 60_000
# Row n, and in the same write the number of the last row: what the end of a restore's stretch looks like.
FILL = f"""
import os, sys
from pathlib import Path
from tables.store import Store
store = Store(Path(sys.argv[1]))
for n in range(100):
    store.write({{b"row%06d" % n: bytes(1000), b"last": b"%d" % n}})
with store.bulk():
    for n in range(100, {ROWS}):
        store.write({{b"row%06d" % n: bytes(1000), b"last": b"%d" % n}})
    os._exit(9)
"""


def test_a_bulk_write_that_is_killed_leaves_all_rows_up_to_one_and_none_behind(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", FILL, str(tmp_path / "s")], check=False, timeout=60)
    assert died.returncode == 9
    store = Store(tmp_path / "s")
    last = int(store.get(b"last") or 0)
    assert 99 <= last < ROWS - 1  # some were flushed, and the newest were not
    assert [key for key, _ in store.scan(b"row", b"rox")] == [b"row%06d" % n for n in range(last + 1)]
    store.close()


def test_a_bulk_write_is_on_disk_at_its_end(tmp_path: Path) -> None:
    script = FILL.replace("    os._exit(9)", "os._exit(9)")
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "s")], check=False, timeout=60)
    store = Store(tmp_path / "s")
    assert store.get(b"last") == b"%d" % (ROWS - 1)
    store.close()
