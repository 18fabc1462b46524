"""Real data through a real service, compared with sums computed straight from the files."""

import csv
import gzip
import json
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.data, pytest.mark.timeout(600)]


@pytest.fixture
def retail(data: Path) -> Path:
    return one_of(data, "retail_*.csv.gz")


@pytest.fixture
def access_log(data: Path) -> Path:
    return one_of(data, "*access*.log.gz")


def one_of(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if not files:
        pytest.skip(f"there is no {pattern} in {folder}")
    return files[0]


def retail_rows(file: Path) -> tuple[Counter[tuple[str, ...]], int]:
    """Return each good row with its number, and the number of bad ones."""
    good: Counter[tuple[str, ...]] = Counter()
    bad = 0
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines)
        header = next(reader)
        for row in reader:
            fields = dict(zip(header, row, strict=False))
            try:
                int(fields["Quantity"]), Decimal(fields["UnitPrice"])
                datetime.strptime(fields["InvoiceDate"], "%Y-%m-%d %H:%M:%S")
                good[tuple(row)] += 1
            except (KeyError, ValueError, InvalidOperation):
                bad += 1
    return good, bad


def net_sales(rows: Iterable[tuple[str, ...]]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row[7]] += int(row[3]) * Decimal(row[5])
    return sums


def start_loading(service: Service, file: Path, mapping: str, speed: str = "max") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "millstream", "load", str(file), "--as", mapping, "--speed", speed],
        env=service.env,
        stdout=subprocess.DEVNULL,
    )


def kill_in_the_middle(service: Service, expected: int) -> None:
    """Kill the worker when it is at work on the events, and start it again on the same disk."""
    time.sleep(0.3)
    deadline = time.monotonic() + 60
    while not 0 < done_of(service) < expected * 0.8:
        assert time.monotonic() < deadline, "the worker was not caught in the middle of its work"
        time.sleep(0.02)
    service.workers[0].kill()
    assert 0 < done_of(service) < expected, "the fault missed the work: this run says nothing"
    service.worker("0").wait_ready()


def done_of(service: Service) -> int:
    try:
        partitions = service.workers[-1].get("/health").json()["partitions"]
    except httpx.TransportError:
        return len(service.read("activity.enriched"))  # it is dead
    raw = service.topic("activity.raw")
    return sum(p["offset"] or 0 for p in partitions if p["partition"].rpartition("/")[0] == raw)


def enriched_ids(service: Service) -> Counter[str]:
    return Counter(json.loads(r.value)["event_id"] for r in service.read_once("activity.enriched"))


def views_of_topic(service: Service) -> Counter[str]:
    """Sum the newest count of each window and partition."""
    newest: dict[tuple[str, int, int], tuple[int, int]] = {}
    for record in service.read("activity.page-counts"):
        count: dict[str, Any] = json.loads(record.value)
        window = (count["page"], count["partition"], count["window_start"])
        newest[window] = max(newest.get(window, (-1, 0)), (count["version"], count["views"]))
    totals: Counter[str] = Counter()
    for (page, _, _), (_, views) in newest.items():
        totals[page] += views
    return totals


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "killed"])
def test_retail(service: Service, retail: Path, kill: bool) -> None:
    rows, bad = retail_rows(retail)
    service.worker("0").wait_ready()
    loading = start_loading(service, retail, "retail")
    if kill:
        kill_in_the_middle(service, rows.total())
    assert loading.wait(120) == 0
    service.wait_done()

    ids = enriched_ids(service)
    assert (len(ids), ids.total()) == (len(rows), len(rows))
    letters = service.read_once("activity.dead-letters")
    assert len(letters) == bad
    assert all(dict(r.headers)["reason"] for r in letters)
    worker = service.workers[-1]
    seen = next(t for t in worker.get("/tables").json()["tables"] if t["name"] == "seen")
    assert (seen["first_sightings"], seen["duplicates"]) == (len(rows), rows.total() - len(rows))
    for country, amount in net_sales(rows).items():
        answer = worker.get(f"/tables/sales/{country}").json()
        assert round(Decimal(str(answer["total"]["amount"])), 2) == round(amount, 2), country
        refunds = sum(int(row[3]) < 0 for row in rows if row[7] == country)
        purchases = sum(int(row[3]) >= 0 for row in rows if row[7] == country)
        assert (answer["total"]["purchases"], answer["total"]["refunds"]) == (purchases, refunds)


LINE = re.compile(
    r'^(\S+) \S+ (\S+) \[([^\]]+)\] "(?:[A-Z]+) ([^ "]+)[^"]*" \d{3} (?:\d+|-) '
    r'"(?:[^"\\]|\\.)*" "(?:[^"\\]|\\.)*"$'
)


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "killed"])
def test_access_log(service: Service, access_log: Path, kill: bool) -> None:
    lines = gzip.decompress(access_log.read_bytes()).decode().splitlines()
    matches = {line: LINE.match(line) for line in lines}
    good = {line: match for line, match in matches.items() if match}
    for match in good.values():
        datetime.strptime(match[3], "%d/%b/%Y:%H:%M:%S %z")
    service.worker("0").wait_ready()
    # As fast as possible the file is too short for its middle to be hit: its days pass in some seconds.
    loading = start_loading(service, access_log, "access-log", "40000" if kill else "max")
    if kill:
        kill_in_the_middle(service, len(good))
    assert loading.wait(120) == 0
    service.wait_done()

    ids = enriched_ids(service)
    assert (len(ids), ids.total()) == (len(good), len(good))
    assert len(service.read_once("activity.dead-letters")) == sum(not matches[line] for line in lines)
    views = Counter(match[4].partition("?")[0] for match in good.values())
    assert views_of_topic(service) == views
    service.wait_done(topic="activity.page-counts")
    for page, count in views.most_common(50):
        for table in ("page-views", "page-totals"):
            assert service.workers[-1].get(f"/tables/{table}/{page}").json()["total"] == {"views": count}
