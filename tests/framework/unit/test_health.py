"""Whether a worker lives, is ready, has started."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from millstream.engine.engine import Engine
from millstream.testing.driver import Driver
from millstream.web.health import CONFIRM_SECONDS, reasons, startup
from tests.framework.apps.shop import app

RAW = TP("shop.raw", 0)


@pytest.fixture
def engine() -> Iterator[Any]:
    with Driver(app) as driver:
        engine = driver._pipeline.engine
        engine.joined = True
        engine.app = SimpleNamespace(rebalancing=False)
        yield engine


def codes(engine: Engine) -> list[str]:
    return [reason.code for reason in reasons(engine, 100)]


def test_a_worker_at_work_is_ready(engine: Any) -> None:
    assert codes(engine) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"failure": "no luck"}, "failed"),
        ({"stopping": True}, "stopping"),
        ({"joined": False}, "joining"),
        ({"app": SimpleNamespace(rebalancing=True)}, "rebalancing"),
        ({"end_of": lambda tp: 101}, "lag"),
        ({"end_of": lambda tp: None}, "lag-unknown"),
    ],
)
def test_reasons(engine: Any, change: dict[str, Any], code: str) -> None:
    vars(engine).update(change)
    assert set(codes(engine)) == {code}


def test_a_lag_at_the_bound_is_allowed(engine: Any) -> None:
    engine.end_of = lambda tp: 100
    assert codes(engine) == []


def test_reasons_of_a_partition(engine: Any) -> None:
    partition = engine.partitions[RAW]
    partition.queue.add(SimpleNamespace(since=time.monotonic() - CONFIRM_SECONDS - 5))
    (reason,) = reasons(engine, 100)
    assert reason == ("unconfirmed", "shop.raw/0 waits for Kafka's confirmation for 15 s.")
    partition.queue.committed(1)
    partition.cursor.generation = None
    assert codes(engine) == ["retrying"]
    partition.cursor.committed = None
    assert codes(engine) == ["restoring"]


def test_a_producer_that_has_ended(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def works(done: bool | None) -> bool:
        task = None if done is None else SimpleNamespace(done=lambda: done)
        producer = SimpleNamespace(_sender=SimpleNamespace(sender_task=task))
        engine.app.producer = SimpleNamespace(_producer=producer)
        found: bool = Engine.producer_works.__get__(engine)
        return found

    assert [works(False), works(True), works(None)] == [True, False, False]
    engine.app.producer = SimpleNamespace(_producer=None)
    assert Engine.producer_works.__get__(engine) is False
    monkeypatch.setattr(type(engine), "producer_works", False)
    assert codes(engine) == ["producer"]


def test_it_has_started_once_all_is_restored_and_stays_so(engine: Any) -> None:
    assert not engine.started
    raw = engine.partitions[RAW]
    committed, raw.cursor.committed = raw.committed, None
    engine.restored()
    assert not engine.started
    raw.cursor.committed = committed
    engine.joined = False
    engine.restored()
    assert not engine.started
    engine.joined = True
    engine.restored()
    raw.cursor.committed = None
    engine.restored()
    assert engine.started


def test_progress_by_table(engine: Any) -> None:
    raw = engine.partitions[RAW]
    found = startup(engine)["tables"]["sales"]
    assert (found["partitions"], found["restored"], found["seconds_left"]) == (1, 1, 0.0)
    raw.cursor.committed = None
    assert startup(engine)["tables"]["sales"]["seconds_left"] is None  # its log's end is not known yet
    progress = raw.state.progress
    progress.began, progress.start, progress.next, progress.end = time.monotonic() - 10, 0, 100, 300
    progress.records = 100
    progress.tables.update({"sales": 60, "seen": 40})
    answer = startup(engine)
    assert answer["started"] is False
    assert answer["tables"]["sales"] == {
        "partitions": 1,
        "restored": 0,
        "records": 60,
        "records_per_second": 6,
        "seconds_left": 20.0,
    }
    assert answer["tables"]["page-views"]["records"] == 0
    state, raw.cursor.state = raw.state, None
    assert startup(engine)["tables"]["sales"]["seconds_left"] is None
    raw.cursor.state = state


def test_the_end_of_a_partition_is_the_newest_that_is_known() -> None:
    buffer = SimpleNamespace(end=7)
    engine: Any = SimpleNamespace(partitions={RAW: SimpleNamespace(buffer=buffer)}, ends={})
    assert Engine.end_of(engine, RAW) == 7
    engine.ends[RAW] = 9
    assert Engine.end_of(engine, RAW) == 9
    buffer.end = None
    assert Engine.end_of(engine, RAW) == 9
    engine.ends.clear()
    assert Engine.end_of(engine, RAW) is None
    engine.partitions.clear()
    assert Engine.end_of(engine, RAW) is None
