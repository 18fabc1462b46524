"""Alerts and dashboard: they are valid, they name what there is, and each alert fires when it should."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.metrics import METRICS, PROCESS
from tests.unit.promtool import promtool

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "millrace.json"
ALERTS = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
DECLARED = {series for metric in METRICS for series in metric.series} | PROCESS.keys()

UP = {'up{job="millrace",instance="a"}': "1x600"}
EVENTS = {'millrace_events_total{topic="t"}': "0+600x600"}
STALE = "_x600"


def buckets(name: str, label: str, slow: bool) -> dict[str, str]:
    """Return a histogram's series of which all values are under 10 ms, or over 10 s."""
    low = "0x600" if slow else "0+60x600"
    inner = f'{name}_bucket{{{label}="a",le='
    return {f'{inner}"0.01"}}': low, f'{inner}"30.0"}}': "0+60x600", f'{inner}"+Inf"}}': "0+60x600"}


QUIET = {
    **UP,
    **EVENTS,
    **buckets("millrace_event_latency_seconds", "topic", slow=False),
    **buckets("millrace_commit_duration_seconds", "topic", slow=False),
    **buckets("millrace_event_loop_lag_seconds", "instance", slow=False),
    'millrace_commit_duration_seconds_count{topic="t"}': "0+60x600",
    'millrace_ready{instance="a"}': "1x600",
    'millrace_lag_events{topic="t",partition="0"}': "200x600",
    'millrace_commit_waiting_seconds{instance="a",topic="t"}': "0.1x600",
    'millrace_dead_letters_total{topic="t",code="not-json"}': "0+1x600",
    'millrace_late_events_total{topic="t",table="w"}': "0+1x600",
    'millrace_watermark_delay_seconds{topic="t",partition="0"}': "3x600",
    'millrace_batch_retries_total{topic="t"}': "0x600",
    'millrace_waiting_events{topic="t",partition="0"}': "0x600",
    'millrace_restoring_partitions{instance="a",topic="t"}': "0x600",
    'millrace_rebalances_total{instance="a"}': "2x600",
    'millrace_standby_lag_records{instance="a",topic="t",partition="1"}': "10x600",
    'millrace_disk_free_bytes{instance="a"}': "500000x600",
    'millrace_disk_size_bytes{instance="a"}': "1000000x600",
}
# What is different when an alert fires, one value a minute, and when it does so.
FIRES: dict[str, tuple[dict[str, str], str]] = {
    "MillraceWorkerDown": ({'up{job="millrace",instance="b"}': "0x600"}, "2m"),
    "MillraceNoWorkers": ({'up{job="millrace",instance="a"}': STALE}, "2m"),
    "MillraceNotReady": ({'millrace_ready{instance="a"}': "0x600"}, "11m"),
    "MillraceNoProgress": ({'millrace_commit_duration_seconds_count{topic="t"}': "60x600"}, "11m"),
    "MillraceLagGrowing": ({'millrace_lag_events{topic="t",partition="0"}': "20000+100x600"}, "25m"),
    "MillraceLatencyHigh": (buckets("millrace_event_latency_seconds", "topic", slow=True), "20m"),
    "MillraceCommitsSlow": (buckets("millrace_commit_duration_seconds", "topic", slow=True), "20m"),
    "MillraceUnconfirmed": ({'millrace_commit_waiting_seconds{instance="a",topic="t"}': "0+20x600"}, "5m"),
    "MillraceDeadLetters": ({'millrace_dead_letters_total{topic="t",code="not-json"}': "0+12x600"}, "20m"),
    "MillraceLateEvents": ({'millrace_late_events_total{topic="t",table="w"}': "0+60x600"}, "25m"),
    "MillraceWatermarkStandsStill": (
        {'millrace_watermark_delay_seconds{topic="t",partition="0"}': "0+60x600"},
        "30m",
    ),
    "MillraceBatchesFail": ({'millrace_batch_retries_total{topic="t"}': "0+2x600"}, "15m"),
    "MillraceEventsWait": ({'millrace_waiting_events{topic="t",partition="0"}': "5x600"}, "90m"),
    "MillraceRestoreLong": ({'millrace_restoring_partitions{instance="a",topic="t"}': "1x600"}, "16m"),
    "MillraceRebalancesFlap": ({'millrace_rebalances_total{instance="a"}': "0+1x600"}, "20m"),
    "MillraceStandbyBehind": (
        {'millrace_standby_lag_records{instance="a",topic="t",partition="1"}': "200000x600"},
        "16m",
    ),
    "MillraceEventLoopLag": (buckets("millrace_event_loop_lag_seconds", "instance", slow=True), "20m"),
    "MillraceDiskLow": ({'millrace_disk_free_bytes{instance="a"}': "90000x600"}, "6m"),
    "MillraceDiskFills": ({'millrace_disk_free_bytes{instance="a"}': "900000-600x600"}, "3h"),
}


def firing(series: dict[str, str], at: str, expression: str, name: str) -> dict[str, Any]:
    """Return promtool's test that an expression is 1."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [
            {"expr": expression, "eval_time": at, "exp_samples": [{"labels": "{}", "value": 1}]}
        ],
    }


def test_prometheus_takes_the_files() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_each_alert_fires_and_none_when_all_is_well(tmp_path: Path) -> None:
    assert FIRES.keys() == ALERTS.keys()
    tests = [
        firing(QUIET | changes, at, f'count(ALERTS{{alertname="{name}",alertstate="firing"}})', name)
        for name, (changes, at) in FIRES.items()
    ]
    tests.append(firing(QUIET, "3h", "absent(ALERTS)", "all is well"))
    file = tmp_path / "alerts.test.yml"
    file.write_text(
        yaml.safe_dump(
            {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}, sort_keys=False
        )
    )
    promtool("test", "rules", str(file))


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert all(text.endswith(".") and "\n" not in text for text in rule["annotations"].values())


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_they_name_declared_metrics_only(path: Path) -> None:
    named = set(re.findall(r"\b(?:millrace|process)_[a-z_]+\b", path.read_text()))
    assert len(named) > 10
    assert named <= DECLARED


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & covered
        covered |= cells
        assert panel["targets"]
        assert panel["datasource"]["uid"] == "${datasource}"
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)\b", json.dumps(panels)))
    assert used == variables


def test_expressions_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    targets = [
        one["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for one in panel["targets"]
    ]
    rules = [
        {"record": f"r{n}", "expr": expr.replace("$__rate_interval", "1m").replace("$topic", ".*")}
        for n, expr in enumerate(targets)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
