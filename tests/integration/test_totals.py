"""Totals over all partitions on real Kafka, compared with a count of what went in."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from millstream.records import event_time
from millstream.serde.json import encode
from models.activity import page_count
from tests.framework.service import Service

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

Views = Counter[tuple[str, int]]


def right(service: Service) -> Views:
    """Count the views of `activity.raw`, each event once."""
    views: Views = Counter()
    seen = set()
    for record in service.read("activity.raw"):
        event = json.loads(record.value)
        if event["event_id"] not in seen and event["action"] == "view" and event.get("page"):
            views[event["page"], int(event_time(event["timestamp"]) // 60) * 60] += 1
        seen.add(event["event_id"])
    return views


def totals(service: Service) -> Views:
    """Return the newest total of each page's minute in `activity.page-totals`."""
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    values: dict[tuple[bytes, int], bytes] = {}
    for record in service.read("activity.page-totals"):
        topic, number, offset = dict(record.headers)["origin"].decode().rsplit("/", 2)
        assert (topic, int(number)) == (service.topic("activity.page-counts"), record.partition)
        assert values.setdefault((number, offset), record.value) == record.value, "a repeat has other bytes"
        total: dict[str, Any] = json.loads(record.value)
        window = (total["page"], total["window_start"])
        assert record.key == total["page"].encode()
        newest[window] = max(newest.get(window, (-1, 0)), (int(offset), total["views"]))
    return Counter({window: views for window, (_, views) in newest.items()})


def asked(service: Service, pages: Iterable[str]) -> Views:
    """Query the table of the last worker for the windows of pages."""
    found: Views = Counter()
    for page in pages:
        answer = service.workers[-1].get(f"/tables/page-totals/{page}").json()
        for window in answer["windows"]:
            found[page, int(event_time(window["start"]))] = window["views"]
        assert answer["total"]["views"] == sum(window["views"] for window in answer["windows"])
    return found


def start_feed(service: Service, count: int, rate: int) -> subprocess.Popen[bytes]:
    options = f"--rate {rate} --count {count} --seed 5 --invalid 0"
    return subprocess.Popen(
        [sys.executable, "-m", "millstream", "produce", *options.split()],
        env=service.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_totals_are_exact_through_kills(service: Service) -> None:
    rand = random.Random(4)
    service.worker("0").wait_ready()
    feed = start_feed(service, 120_000, 5_000)
    for _ in range(3):
        time.sleep(rand.uniform(1, 2))
        behind = service.lag() + service.lag("activity.page-counts")
        service.workers[-1].kill()
        assert feed.poll() is None or behind, "the fault missed the work: this run says nothing"
        service.worker("0").wait_ready()
    assert feed.wait(120) == 0
    service.wait_done()
    service.wait_done(topic="activity.page-counts")

    views = right(service)
    counts = service.read("activity.page-counts")
    assert len({record.key: None for record in counts}) > 50
    assert len({json.loads(record.value)["partition"] for record in counts}) == 4
    assert totals(service) == views
    pages = sorted({page for page, _ in views})[:40]
    assert asked(service, pages) == {window: n for window, n in views.items() if window[0] in pages}
    print(f"counts={len(counts)} repeats={len(counts) - len(service.read_once('activity.page-counts'))}")


def test_old_counts_change_nothing_and_bad_ones_are_dead_letters(service: Service) -> None:
    worker = service.worker().wait_ready()

    def count(partition: int, version: int, views: int) -> tuple[bytes, bytes]:
        return b"/a", encode(page_count("/a", 60, 120, partition=partition, views=views, version=version))

    new = [count(0, 5, 10), count(1, 2, 3), count(0, 9, 12)]
    for batch in (new, [count(0, 5, 10), count(1, 1, 2), (b"/a", b"{}"), *new]):
        service.send("activity.page-counts", batch)
        service.wait_done(topic="activity.page-counts")
        sent = [json.loads(r.value)["views"] for r in service.read("activity.page-totals")]
        assert sent[-1] == 15
        assert sent == sorted(set(sent))
        assert worker.get("/tables/page-totals//a").json()["total"] == {"views": 15}
    (letter,) = service.read("activity.page-counts.dead-letters")
    assert (letter.key, letter.value) == (b"/a", b"{}")
    topic = service.topic("activity.page-counts.dead-letters")
    listed = service.command("dead-letters", "list", "--topic", topic).stdout
    assert "missing-field" in listed
    file = service.folder / "mended.json"
    file.write_bytes(count(2, 0, 100)[1])
    origin = dict(letter.headers)["origin"].decode()
    service.command("dead-letters", "replay", origin, "--topic", topic, "--value", str(file))
    service.wait_done(topic="activity.page-counts")
    assert worker.get("/tables/page-totals//a").json()["total"] == {"views": 115}
