"""What a table does not keep any more is freed: rows, disk, and state log."""

from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from millstream.tables.aggregates import Count
from millstream.tables.sessions import SessionTable
from millstream.tables.windows import WindowTable
from tests.framework.unit.cuts import Cuts, Runner

KEYS = 100
MINUTES = 600


class Event(NamedTuple):
    key: str
    time: float


EVENTS = [
    Event(f"key-{number}-{'x' * 500}", minute * 60.0) for minute in range(MINUTES) for number in range(KEYS)
]
SECOND = timedelta(seconds=1)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.sst"))


@pytest.mark.parametrize(
    ("kept", "everything"),
    [
        (
            WindowTable("w", size=60 * SECOND, value=Count(), grace=SECOND, keep=600 * SECOND),
            WindowTable("w", size=60 * SECOND, value=Count()),
        ),
        (
            SessionTable("s", gap=30 * SECOND, value=Count(), keep=600 * SECOND),
            SessionTable("s", gap=30 * SECOND, value=Count()),
        ),
    ],
    ids=["windows", "sessions"],
)
async def test_retention_frees_disk_and_log(tmp_path: Path, kept: Any, everything: Any) -> None:
    sizes, logs = [], []
    for table in (kept, everything):
        runner = Runner(tmp_path / str(len(sizes)), table)
        await runner.fill(table, EVENTS, Cuts([KEYS], 1, 10**9, lose_disk=False))
        # As RocksDB and Kafka do after hours.
        runner.state._store._settle()
        runner.state._store._db.compact_range(None, None)
        runner._log.compact()
        runner.state.close()  # while it is open, it deletes files at any time
        sizes.append(size_of(tmp_path / str(len(sizes))))
        logs.append(sum(record.value is not None for record in runner._log.records))
    # A fiftieth is kept, and on disk less of it is compressed.
    assert sizes[0] < sizes[1] / 4
    assert logs[0] < logs[1] / 10
