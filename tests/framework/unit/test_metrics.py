"""What `/metrics` shows of the engine in memory is what has happened."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import generate_latest

from millstream.engine.counters import SAMPLES, BatchStatistics, Counters, Histogram
from millstream.engine.engine import Engine
from millstream.observability.metrics import METRICS, PROCESS, buckets
from millstream.testing.driver import Driver
from millstream.web.metrics import registry
from tests.framework.apps.shop import app
from tests.framework.promtool import promtool
from tests.framework.scrapes import Samples, samples

START = 1_700_000_000.0
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver(app, now=START + 1) as driver:
        yield driver


def engine_of(driver: Driver) -> Engine:
    return driver._pipeline.engine


def text_of(driver: Driver, folder: Path = ROOT) -> str:
    """Return what a scrape gets, where the worker's data are in a folder."""
    shown: Any = SimpleNamespace(
        engine=engine_of(driver),
        settings=SimpleNamespace(data_dir=folder, ready_lag=100),
        metrics=app.metrics,
        metric_samples=app.metric_samples,
    )
    return generate_latest(registry(shown)).decode()


def scrape(driver: Driver, folder: Path = ROOT) -> Samples:
    """Return all samples by name and labels' values."""
    return samples(text_of(driver, folder))


def event(event_id: str, at: float = START, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "user_id": "u", "action": "login", "timestamp": at, **fields}


def test_events_are_counted_once(driver: Driver) -> None:
    before = scrape(driver)
    assert before["millstream_events_total", "shop.raw"] == 0
    assert before["millstream_dead_letters_total", "shop.raw", "not-json"] == 0
    assert before["millstream_duplicate_events_total", "shop.raw", "seen"] == 0
    assert before["millstream_late_events_total", "shop.clean", "sessions"] == 0
    for one in ("e1", "e2", "e1"):
        driver.send("shop.raw", event(one, action="view", page="/a"))
    driver.send("shop.raw", b"{", key="u")
    driver.send("shop.raw", event("e3", START + 86_000))
    driver.send("shop.raw", event("e4", START))
    found = scrape(driver)
    assert found["millstream_events_total", "shop.raw"] == 5
    assert found["millstream_events_total", "shop.clean"] == 4
    assert found["millstream_duplicate_events_total", "shop.raw", "seen"] == 1
    assert found["millstream_dead_letters_total", "shop.raw", "not-json"] == 1
    assert found["millstream_outputs_total", "shop.clean"] == len(driver.read("shop.clean")) == 4
    assert found["millstream_outputs_total", "shop.page-counts"] == len(driver.read("shop.page-counts"))
    assert found["millstream_outputs_total", "shop.dead-letters"] == 1
    assert found["millstream_event_latency_seconds_count", "shop.raw"] == 5
    assert found["millstream_event_latency_seconds_bucket", "shop.raw", "0.01"] == 5
    assert found["millstream_batch_duration_seconds_count", "shop.raw"] == 6
    assert found["millstream_commit_duration_seconds_count", "shop.raw"] >= 6
    assert found["millstream_lag_events", "shop.raw", "0"] == 0
    assert found["millstream_takeovers_total", "shop.raw"] == 1
    assert found["millstream_partitions", "shop.raw"] == 1
    assert found["millstream_restoring_partitions", "shop.raw"] == 0
    assert found["millstream_state_keys", "shop.raw"] > 0
    assert found["millstream_watermark_delay_seconds", "shop.raw", "0"] == START + 1 - (START + 86_000)
    assert found["millstream_commit_waiting_seconds", "shop.raw"] == 0


def test_late_events_are_those_of_the_topic(driver: Driver) -> None:
    driver.send("shop.raw", event("e1", START + 86_000))
    for n in range(3):
        driver.send("shop.raw", event(f"late-{n}", START + n, action="view", page="/a"))
    found = scrape(driver)
    told = [one.headers["table"].decode() for one in driver.read("shop.late")]
    shown = {name[-1]: n for name, n in found.items() if name[0] == "millstream_late_events_total"}
    assert {table: n for table, n in shown.items() if n} == {table: told.count(table) for table in set(told)}
    assert len(set(told)) >= 3


def test_what_is_computed_again_counts_once(driver: Driver) -> None:
    log = driver._logs["shop.raw", 0]
    append = log.append

    async def fail(entries: Any) -> int:
        log.append = append  # type: ignore[method-assign] # as it was
        raise ConnectionError("as told")

    log.append = fail  # type: ignore[method-assign] # to fail once
    driver.send("shop.raw", event("e1"))
    found = scrape(driver)
    assert found["millstream_batch_retries_total", "shop.raw"] == 1
    assert found["millstream_events_total", "shop.raw"] == 1
    assert found["millstream_outputs_total", "shop.clean"] == 1
    assert found["millstream_takeovers_total", "shop.raw"] == 1
    assert len(driver.read("shop.clean")) == 2  # the first was sent, and its commit failed


def test_all_that_is_shown_is_declared(driver: Driver) -> None:
    driver.send("shop.raw", event("e1", action="buy", amount=1.0, country="FR"))
    found = scrape(driver)
    shown = {name for name, *_ in found}
    declared = {series for metric in METRICS for series in metric.series} | PROCESS.keys()
    assert shown <= declared
    unseen = {metric.name for metric in METRICS if not metric.series <= shown}
    assert unseen == {
        "millstream_restore_left_records",
        "millstream_restore_left_seconds",
        "millstream_standby_lag_records",
        "millstream_reference_keys",
    }
    assert PROCESS.keys() <= shown
    for metric in METRICS:
        named = (f"{metric.name}_bucket", "shop.raw")[: len(metric.labels) + 1]
        bounds = [float(key[-1]) for key in found if key[:-1] == named]
        assert bounds == ([*metric.bounds, math.inf] if metric.bounds else [])


def test_prometheus_likes_what_is_shown(driver: Driver) -> None:
    driver.send("shop.raw", event("e1", action="buy", amount=1.0, country="FR"))
    promtool("check", "metrics", given=text_of(driver))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_are_as_prometheus_wants_them(metric: Any) -> None:
    assert re.fullmatch(r"millstream_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert metric.help.endswith(".")
    assert "|" not in metric.help


def test_names_are_declared_once() -> None:
    names = [series for metric in METRICS for series in metric.series]
    assert len(names) == len(set(names))


def test_a_restore_is_shown(driver: Driver) -> None:
    partition = next(iter(engine_of(driver).partitions.values()))
    partition.cursor.committed = None
    progress = partition.cursor.owned_state.progress
    progress.start, progress.next, progress.end = 0, 25, 100
    found = scrape(driver)
    topic = partition.source.topic
    assert found["millstream_restoring_partitions", topic] == 1
    assert found["millstream_restore_left_records", topic, "0"] == 75
    assert found["millstream_restore_left_seconds", topic, "0"] > 0
    assert ("millstream_lag_events", topic, "0") not in found


def test_no_disk_yet_is_no_error(driver: Driver, tmp_path: Path) -> None:
    assert ("millstream_disk_free_bytes",) not in scrape(driver, tmp_path / "none")
    found = scrape(driver, tmp_path)
    assert 0 < found["millstream_disk_free_bytes",] <= found["millstream_disk_size_bytes",]


def test_a_histogram_counts_what_is_at_a_bound_as_below_it() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 3.0):
        histogram.observe(value)
    histogram.observe(2.0, 3)
    assert buckets(histogram) == [("1.0", 2.0), ("2.0", 6.0), ("+Inf", 7.0)]
    assert math.isclose(histogram.sum, 12.0)


@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 17, 31, 32, 33, 1000, 4000])
def test_a_few_events_stand_for_all_of_a_batch(size: int) -> None:
    statistics = BatchStatistics()
    statistics.sample([cast(Any, SimpleNamespace(timestamp=1000 * n)) for n in range(size)])
    assert statistics.events == size
    assert len(statistics.appended) <= SAMPLES
    counters = Counters()
    counters.committed([statistics], 0.1, float(size))
    assert sum(counters.latency.counts) == counters.events == size
