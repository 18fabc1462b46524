"""What a table does not keep any more is freed: rows, disk, and state log."""

from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tables import store
from tables.aggregates import Count
from tables.sessions import SessionTable
from tables.windows import WindowTable
from tests.unit.cuts import Cuts, Runner

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
async def test_retention_frees_disk_and_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Any, everything: Any
) -> None:
    # So that RocksDB compacts as it does after hours.
    monkeypatch.setattr(store, "WRITE_BUFFER", 64 << 10)
    monkeypatch.setattr(store, "MERGED_FILES", 2)
    store._options.cache_clear()
    sizes, logs = [], []
    for table in (kept, everything):
        runner = Runner(tmp_path / table.name / str(len(sizes)), table)
        await runner.fill(table, EVENTS, Cuts([KEYS], 1, 10**9, lose_disk=False))
        runner.state.close()  # while it is open, it deletes files at any time
        sizes.append(size_of(tmp_path / table.name / str(len(sizes))))
        runner._log.compact()
        logs.append(sum(record.value is not None for record in runner._log.records))
    store._options.cache_clear()
    # A fiftieth is kept; RocksDB and Kafka drop the rest when they compact.
    assert sizes[0] < sizes[1] / 3
    assert logs[0] < logs[1] / 10
