"""What the service adds to `/metrics`, and that `docs/metrics.md` has all of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from app import app
from millstream.observability.metrics import METRICS, PROCESS, Metric, document
from millstream.testing.driver import Driver
from millstream.web.metrics import registry
from tests.framework.promtool import promtool
from tests.framework.scrapes import Samples, samples

START = 1_700_000_000.0
ROOT = Path(__file__).resolve().parents[2]
app.load_agents("users", "totals")


class Shown:
    """The service, with the engine of a driver."""

    def __init__(self, driver: Driver) -> None:
        self.engine = driver._pipeline.engine
        self.settings, self.metrics, self.metric_samples = app.settings, app.metrics, app.metric_samples


@pytest.fixture
def driver() -> Iterator[Driver]:
    with Driver(app, now=START + 1) as driver:
        yield driver


def text_of(driver: Driver) -> str:
    shown: Any = Shown(driver)
    return generate_latest(registry(shown)).decode()


def scrape(driver: Driver) -> Samples:
    return samples(text_of(driver))


def event(event_id: str, at: float = START, **fields: Any) -> dict[str, Any]:
    return {"event_id": event_id, "user_id": "u", "action": "login", "timestamp": at, **fields}


def test_figures_of_the_main_job(driver: Driver) -> None:
    assert ("millstream_active_users",) not in scrape(driver)
    day = START // 86_400 * 86_400
    for n, country in enumerate(["FR", "FR", "GB"]):
        sale = {"user_id": f"u{n}", "action": "purchase", "amount": 2.5, "country": country}
        driver.send("activity.raw", event(f"sale-{n}", day + 7200 + n, **sale))
    driver.send("activity.raw", event("back", day + 7210, action="refund", amount=-1.0, country="FR"))
    driver.send("activity.raw", event("later", day + 7260, user_id="u9"))
    found = scrape(driver)
    assert found["millstream_active_users",] == 4
    assert found["millstream_day_purchases",] == 3
    assert found["millstream_day_sales_amount",] == 6.5


def test_all_that_is_shown_is_declared_and_documented(driver: Driver) -> None:
    driver.send("activity.raw", event("e1", action="purchase", amount=1.0, country="FR"))
    shown = {name for name, *_ in scrape(driver)}
    declared = {series for metric in (*METRICS, *app.metrics) for series in metric.series} | PROCESS.keys()
    assert shown <= declared
    assert {metric.name for metric in app.metrics if not metric.series <= shown} == {
        "millstream_active_users"
    }
    assert (ROOT / "docs" / "metrics.md").read_text() == document(app.metrics), "run `make docs`"


def test_prometheus_likes_what_is_shown(driver: Driver) -> None:
    driver.send("activity.raw", event("e1", action="purchase", amount=1.0, country="FR"))
    promtool("check", "metrics", given=text_of(driver))


@pytest.mark.parametrize("metric", app.metrics, ids=lambda metric: metric.name)
def test_names_are_as_prometheus_wants_them(metric: Metric) -> None:
    assert re.fullmatch(r"millstream_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert bool(metric.bounds) == (metric.kind == "histogram")
    assert metric.help.endswith(".")
    assert "|" not in metric.help


def test_names_are_declared_once() -> None:
    names = [series for metric in (*METRICS, *app.metrics) for series in metric.series]
    assert len(names) == len(set(names))
