"""Alerts and dashboard: they are valid, they name what there is, and each alert fires when it should."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import app
from millstream.observability.metrics import METRICS, PROCESS
from tests.alerts import FIRES, QUIET, RULES
from tests.framework.promtool import promtool

DASHBOARD = RULES.parents[1] / "grafana" / "millstream.json"
ALERTS = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
DECLARED = {series for metric in (*METRICS, *app.metrics) for series in metric.series} | PROCESS.keys()


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
    named = set(re.findall(r"\b(?:millstream|process)_[a-z_]+\b", path.read_text()))
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
