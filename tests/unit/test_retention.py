"""What a table does not keep any more is freed: rows, disk, and state log."""

import asyncio
import time
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
    monkeypatch.setattr(store, "TOGETHER_WRITES", 1)
    store._options.cache_clear()
    runners = []
    for table in (kept, everything):
        runner = Runner(tmp_path / str(len(runners)), table)
        await runner.fill(table, EVENTS, Cuts([KEYS], 1, 10**9, lose_disk=False))
        runners.append(runner)
    store._options.cache_clear()
    # A fiftieth is kept; RocksDB and Kafka drop the rest when they compact.
    deadline = time.monotonic() + 10
    while runners[0].state.sizes().disk > runners[1].state.sizes().disk / 3:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    logs = []
    for runner in runners:
        runner.state.close()
        runner._log.compact()
        logs.append(sum(record.value is not None for record in runner._log.records))
    assert logs[0] < logs[1] / 10
