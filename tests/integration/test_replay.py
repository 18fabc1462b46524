"""The same agents live and over files: the same results, also when the live ones are killed."""

import gzip
import json
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from app import app
from millstream.sources.files import read
from millstream.sources.record import Record
from tests import truth
from tests.framework.service import Service
from tests.integration.test_real_data import one_of
from tests.last import is_last, last_events

pytestmark = [pytest.mark.kafka, pytest.mark.data, pytest.mark.timeout(600)]

FILES = {"retail": "retail_*.csv.gz", "access-log": "*access*.log.gz"}
# A worker is killed so many seconds after it has got to work: before it can be done.
KILLS = (0.01, 0.02, 0.03, 0.05, 0.08)
SETTINGS = {"MILLSTREAM_AGENTS": "activity,page_totals,users,totals"}
RIGHT = {"activity.profiles": truth.profiles} | truth.FINAL
TOTALS = ("activity.users-per-minute", "activity.sales-per-day", "activity.top-pages")
# After all events of the files.
LATER = 1_700_000_000

Line = tuple[str | None, str]


def compared(topic: str, lines: Iterable[tuple[str | None, bytes]]) -> list[Line]:
    """Return what must be equal: all records, or the newest of each window; without the last users."""
    told = [(key, raw.decode()) for key, raw in lines if key is None or not is_last(key)]
    if topic in TOTALS:
        told = [(key, raw) for key, raw in told if json.loads(raw).get("final", True)]
    if topic == "activity.profiles":
        return sorted(dict(told).items())
    if topic != "activity.page-totals":
        return sorted(told)
    newest: dict[tuple[str, int], Line] = {}
    for key, raw in told:
        total = json.loads(raw)
        window = (total["page"], total["window_start"])
        if window not in newest or json.loads(newest[window][1])["views"] <= total["views"]:
            newest[window] = (key, raw)
    return sorted(newest.values())


def replayed(folder: Path, topic: str) -> list[Line]:
    file = folder / f"{topic}.ndjson"
    lines = [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    return compared(
        topic,
        (
            (line["key"], json.dumps(line["value"], separators=(",", ":"), ensure_ascii=False).encode())
            for line in lines
        ),
    )


def live(service: Service, topic: str) -> list[Line]:
    records = service.read_once(topic)
    return compared(
        topic, ((record.key and record.key.decode(), _plain(json.loads(record.value))) for record in records)
    )


def _plain(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _order(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)


def events_of(path: Path, mapping: str) -> list[dict[str, Any]]:
    """Return a file's events, each once."""
    events: dict[str, dict[str, Any]] = {}
    for record in read(path, app.file_formats[mapping], app.topology.sources["activity.raw"]):
        if isinstance(record, Record):
            event = json.loads(record.value or b"")
            events.setdefault(event["event_id"], event | {"timestamp": record.event_time})
    return list(events.values())


def feed(service: Service, path: Path, mapping: str) -> None:
    """Load a file in parts, and kill the worker behind each."""
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    header, body = (lines[:1], lines[1:]) if mapping == "retail" else ([], lines)
    size = len(body) // len(KILLS) + 1
    for seconds, start in zip(KILLS, range(0, len(body), size), strict=True):
        part = service.folder / f"part-{start}"
        part.write_bytes(b"".join([*header, *body[start : start + size]]))
        worker = service.workers[-1]
        worker.process.send_signal(signal.SIGSTOP)
        service.command("load", "--as", mapping, str(part))
        worker.process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        worker.process.send_signal(signal.SIGSTOP)
        behind = service.lag() + service.lag("activity.enriched")
        worker.kill()
        assert behind, "the fault missed the work: this run says nothing"
        service.worker(**SETTINGS).wait_ready()
    last = [(event["user_id"].encode(), _plain(event)) for event in last_events(LATER)]
    service.send("activity.raw", last)
    for topic in ("activity.raw", "activity.enriched", "activity.page-counts"):
        service.wait_done(topic=topic)


@pytest.mark.parametrize("mapping", FILES)
def test_live_is_replay(service: Service, data: Path, tmp_path: Path, mapping: str) -> None:
    path = one_of(data, FILES[mapping])
    out = tmp_path / "replayed"
    settings = SETTINGS | {"MILLSTREAM_TOPIC_PREFIX": ""}
    print(service.command("replay", "--as", mapping, "--out", str(out), str(path), **settings).stdout)
    service.worker(**SETTINGS).wait_ready()
    feed(service, path, mapping)
    events = events_of(path, mapping)
    right = {topic: find(events) for topic, find in RIGHT.items()}
    topics = ["activity.enriched", *RIGHT] + (["activity.page-totals"] if mapping == "access-log" else [])
    for topic in topics:
        over_files = replayed(out, topic)
        over_kafka = live(service, topic)
        deadline = time.monotonic() + 60
        while len(over_kafka) < len(over_files) and time.monotonic() < deadline:
            # The last windows close when all partitions have forwarded their watermarks.
            over_kafka = live(service, topic)
        assert over_kafka == over_files, topic
        if topic in RIGHT:
            told = [json.loads(raw) for _, raw in over_files]
            sides = [
                sorted(map(_order, truth.without_uncounted_pages(side, told)))
                for side in (told, right[topic])
            ]
            assert sides[0] == sides[1]
    assert sum(map(len, right.values())) > 1000
