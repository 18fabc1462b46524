"""Hazards of Faust's defaults, and of what it takes from the environment."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.stores.rocksdb import RocksDBOptions

from millstream.kafka.partitioner import partition_for
from millstream.state.store import BLOCK_CACHE, _options
from millstream.tables.dedup import DedupTable
from tests.framework.apps.closed_form import app
from tests.framework.hazards.plain import both
from tests.framework.memory_log import MemoryLog
from tests.framework.unit.test_tables import Batch, Event, state_of

pytestmark = pytest.mark.timeout(60)

DAY = 86400


def plain() -> Any:
    return faust.App("plain", broker="kafka://127.0.0.1:1")


def millstream() -> Any:
    return app


Kind = Callable[[], Any]


@pytest.mark.parametrize(
    "kind", both(plain, millstream, "a worker that has no partitions, hence never polls, is thrown out")
)
def test_a_worker_without_partitions_stays(kind: Kind) -> None:
    assert kind().conf.broker_max_poll_interval > 14 * DAY


@pytest.mark.parametrize(
    "kind", both(plain, millstream, "members are dynamic: each restart is two rebalances")
)
def test_a_worker_is_a_static_member(kind: Kind) -> None:
    assert kind().conf.consumer_group_instance_id


@pytest.mark.parametrize(
    "per_partition",
    both(RocksDBOptions().block_cache_size, 0, "each table and partition has a block cache of 2 GiB"),
)
def test_memory_does_not_grow_with_the_partitions(per_partition: int) -> None:
    assert _options() is _options()  # and with it its one cache
    assert BLOCK_CACHE + 100 * per_partition < 1 << 30


def plain_log() -> Any:
    return plain().Table("t", default=int).changelog_topic.config or {}


def millstream_log() -> Any:
    (log,) = [spec for name, spec in app.topic_specs.items() if name.startswith("closed.raw.")]
    return log.configs


@pytest.mark.parametrize(
    "configs", both(plain_log, millstream_log, "nobody asks how many replicas confirm a changelog's records")
)
def test_a_changelog_says_how_many_replicas_confirm_a_write(configs: Kind) -> None:
    assert "min.insync.replicas" in configs()


PRINT = "c = app.conf; print(c.processing_guarantee.value, c.broker_max_poll_interval, c.web_tables_enabled)"
PLAIN = (
    f"import faust; app = faust.App('plain', web_tables_enabled=False, broker_max_poll_interval=9.0); {PRINT}"
)
MILLSTREAM = f"from tests.framework.apps.closed_form import app; {PRINT}"


@pytest.mark.parametrize(
    "code", both(PLAIN, MILLSTREAM, "any setting in the code is overruled by the environment")
)
def test_a_stray_variable_changes_no_promise(code: str, tmp_path: Path) -> None:
    def run(**more: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], env=os.environ | more, capture_output=True, text=True, check=True
        ).stdout

    stray = {
        "PROCESSING_GUARANTEE": "exactly_once",
        "BROKER_MAX_POLL_INTERVAL": "5",
        "APP_WEB_TABLES_ENABLED": "1",
    }
    assert run(**stray) == run()
    assert run().startswith("at_least_once")


def asked_key() -> bytes:
    """Return the bytes of a key that plain Faust's router looks for in a table."""
    made = plain()
    table = made.Table("t", key_type=str, default=int)
    return bytes(made.router._get_serialized_key(table, "user"))


@pytest.mark.parametrize("key", both(asked_key, lambda: b"user", "the router asks for the key's JSON form"))
def test_a_key_is_asked_for_where_its_events_go(key: Callable[[], bytes]) -> None:
    assert partition_for(key(), 1 << 20) == partition_for(b"user", 1 << 20)


class Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Say nothing."""


@pytest.mark.parametrize(
    "kind", both(plain, millstream, "for its spinner, it has each library write debug records")
)
def test_log_level_warn_is_not_debug(kind: Kind) -> None:
    made = kind()
    worker = made.conf.Worker(made, loglevel="warn")
    root = logging.Logger("root", logging.WARNING)
    root.addHandler(Log())
    worker.on_setup_root_logger(root, logging.WARNING)
    assert root.level >= logging.WARNING


async def plain_expiry(folder: Path) -> bool:
    """Return whether plain Faust forgets a window that has expired, if it was restarted in between."""

    def windowed(data: dict[Any, Any]) -> Any:
        table = plain().Table("t", default=int).tumbling(10, expires=10).table
        table.data.data = data
        return table

    def stale(table: Any) -> int:
        return sum(
            table.window.stale(end, 1e9) for ends in table._partition_timestamps.values() for end in ends
        )

    key = ("a", (0.0, 9.9))
    before = windowed({})
    before.data.data[key] = 1
    before._maybe_set_key_ttl(key, 0)
    assert stale(before) == 1
    after = windowed(before.data.data)  # as recovery fills it
    return stale(after) == 1


async def millstream_expiry(folder: Path) -> bool:
    """Return the same of Millstream's table that forgets."""
    table, log = DedupTable("seen", ttl=timedelta(seconds=10)), MemoryLog()
    for n, time in enumerate((0.0, 100.0)):
        state = await state_of(log, folder / str(n), table)
        batch = Batch(state, [Event(f"e{n}", time)], n)
        list(table.open(batch).first(batch))
        await batch.commit()
        rows = [key for key, _ in state.scan_committed(b"seen\0i", b"seen\0j")]
        state.close()
    return [key[-2:] for key in rows] == [b"e1"]


@pytest.mark.parametrize("run", both(plain_expiry, millstream_expiry, "expiry is kept in memory only"))
async def test_what_expires_does_so_after_a_restart_too(run: Any, tmp_path: Path) -> None:
    assert await run(tmp_path)
