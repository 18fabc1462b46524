"""The main job's load, and what must come out of it: computed from the raw topic, without the engine."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app import app
from app.generator import synthetic
from millstream.records import Invalid
from millstream.serde.json import Decoder
from millstream.settings import Settings
from millstream.sources.loading import Loading
from millstream.sources.record import Record
from models.activity import ActivityEvent
from tests.framework.chaos.report import Report
from tests.framework.chaos.tables import Tables
from tests.framework.service import Service

ASKED = 500
START = 1_700_000_000.0

Origin = tuple[int, int]


class Activity:
    """Made-up activity, with duplicates, late and broken events, until it is enough; or the lines of a file.

    Args:
        rate: records a second.
        file: what to load instead, as `millstream load` does.
        form: the format of its lines.
    """

    app = "app"
    source = "activity.raw"
    derived = ("activity.page-counts",)
    # Event time that passes in a second.
    pace = 1.0

    def __init__(
        self,
        *,
        rate: float = 3_000,
        seed: int = 1,
        file: Path | None = None,
        form: str = "activity",
    ) -> None:
        self.rate, self.seed, self.file, self.form = rate, seed, file, form
        self.enough = False

    def records(self) -> Iterator[Record]:
        if self.file is not None:
            return loading(self.file, self.form).records()
        made_up = synthetic.events(
            self.seed,
            count=None,
            rate=self.rate / self.pace,
            start=START,
            users=1000,
            pages=200,
            duplicates=0.05,
            invalid=0.01,
            late=0.02,
        )
        return takewhile(lambda _: not self.enough, made_up)

    def check(self, service: Service, tables: Tables, report: Report) -> None:
        right = Truth(service)
        report.events, report.expected = right.read, len(right.first) + len(right.invalid)
        outputs(service, "activity.enriched", right.first, report)
        outputs(service, "activity.dead-letters", dict.fromkeys(right.invalid), report)
        counted = page_counts(service, report)
        for window in counted.keys() | right.views.keys():
            report.compare(window, counted.get(window), right.views.get(window))
        totals: Counter[tuple[str, int]] = Counter()
        for (_, page, start), views in right.views.items():
            totals[page, start] += views
        sent = page_totals(service)
        for total in sent.keys() | totals.keys():
            report.compare(("total", *total), sent.get(total), totals.get(total))
        pages: Counter[str] = Counter()
        for (page, _), views in totals.items():
            pages[page] += views
        with Tables(service, "activity.page-counts") as counts:
            for page, views in pages.most_common(ASKED):
                shown = counts.all(f"/tables/page-totals/{quote(page, safe='')}")
                report.compare(("total", page), sum(answer["total"]["views"] for answer in shown), views)
        self._check_tables(right, tables, report)

    @staticmethod
    def _check_tables(right: "Truth", tables: Tables, report: Report) -> None:
        seen = [
            table for answer in tables.all("/tables") for table in answer["tables"] if table["name"] == "seen"
        ]
        report.compare("seen", sum(table["first_sightings"] for table in seen), len(right.first))
        report.compare("duplicates", sum(table["duplicates"] for table in seen), right.duplicates)
        pages: Counter[str] = Counter()
        for (_, page, _), views in right.views.items():
            pages[page] += views
        for page, views in pages.most_common(ASKED):
            shown = tables.all(f"/tables/page-views/{quote(page, safe='')}")
            report.compare(page, sum(answer["total"]["views"] for answer in shown), views)
        for country, sales in right.sales.items():
            totals = [answer["total"] for answer in tables.all(f"/tables/sales/{quote(country, safe='')}")]
            found = [sum(total[name] for total in totals) for name in ("purchases", "refunds")]
            micros = sum(round(total["amount"] * 1_000_000) for total in totals)
            report.compare(country, [*found, micros], sales)


def loading(file: Path, form: str) -> Loading:
    return Loading((file,), app.file_formats[form], app.topology.sources[Activity.source], None)


@dataclass
class Truth:
    """What the records of the raw topic mean, in the order of their offsets.

    Attributes:
        first: the id of each first occurrence, by partition and offset.
        invalid: where the invalid records lie.
        views: by partition, page and minute.
        sales: purchases, refunds and millionths, by country.
    """

    service: Service
    ttl: float = timedelta(minutes=10).total_seconds()
    read: int = 0
    duplicates: int = 0
    first: dict[Origin, str] = field(default_factory=dict)
    invalid: set[Origin] = field(default_factory=set)
    views: Counter[tuple[int, str, int]] = field(default_factory=Counter)
    sales: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))

    def __post_init__(self) -> None:
        conf = Settings(kafka_bootstrap_servers=None)
        decoder = Decoder(ActivityEvent, max_bytes=conf.max_event_bytes, max_future=conf.max_future)
        raw = self.service.read(Activity.source)
        expires: dict[tuple[int, str], float] = {}
        watermarks: dict[int, float] = defaultdict(float)
        for record, event in zip(raw, decoder.many(raw), strict=True):
            self.read += 1
            origin = (record.partition, record.offset)
            if isinstance(event, Invalid):
                self.invalid.add(origin)
                continue
            watermark = max(watermarks[record.partition], event.timestamp)
            watermarks[record.partition] = watermark
            key = (record.partition, event.event_id)
            if expires.get(key, float("-inf")) > watermark:
                self.duplicates += 1
                continue
            expires[key] = watermark + self.ttl
            self.first[origin] = event.event_id
            self._count(record.partition, event)

    def _count(self, partition: int, event: Any) -> None:
        if event.action == "view" and event.page is not None:
            self.views[partition, event.page, int(event.timestamp // 60) * 60] += 1
        elif event.action in ("purchase", "refund"):
            sales = self.sales[event.country or "unknown"]
            sales[event.action == "refund"] += 1
            sales[2] += round((event.amount or 0) * 1_000_000)


def outputs(service: Service, topic: str, right: dict[Origin, Any], report: Report) -> None:
    """Compare a topic's outputs, repeats removed, with the events that must have one; None: any value."""
    found: dict[Origin, set[tuple[bytes | None, bytes]]] = defaultdict(set)
    records = service.read(topic)
    for record in records:
        _, partition, offset = dict(record.headers)["origin"].decode().rsplit("/", 2)
        found[int(partition), int(offset)].add((record.key, record.value))
    report.repeats += len(records) - sum(map(len, found.values()))
    report.lost += len(right.keys() - found.keys())
    report.doubled += sum(len(values) - 1 for values in found.values()) + len(found.keys() - right.keys())
    for origin, values in found.items():
        for _, value in values if right.get(origin) is not None else ():
            report.compare(origin, json.loads(value)["event_id"], right[origin])


def page_counts(service: Service, report: Report) -> dict[tuple[int, str, int], int]:
    """Return the newest count of each partition, page and minute."""
    newest: dict[tuple[int, str, int], tuple[int, int]] = {}
    versions: dict[tuple[bytes, bytes, int], set[bytes]] = defaultdict(set)
    records = service.read("activity.page-counts")
    for record in records:
        count = json.loads(record.value)
        origin = dict(record.headers)["origin"]
        window = (count["partition"], count["page"], count["window_start"])
        versions[record.key, origin, count["window_start"]].add(record.value)
        # The newest has the highest version, and is not always the last: a frozen worker may send old ones.
        newest[window] = max(newest.get(window, (-1, 0)), (count["version"], count["views"]))
    report.repeats += len(records) - sum(map(len, versions.values()))
    report.doubled += sum(len(values) - 1 for values in versions.values())
    return {window: views for window, (_, views) in newest.items()}


def page_totals(service: Service) -> dict[tuple[str, int], int]:
    """Return the newest total of each page and minute, over all partitions of the raw topic."""
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    for record in service.read("activity.page-totals"):
        total = json.loads(record.value)
        window = (total["page"], total["window_start"])
        offset = int(dict(record.headers)["origin"].rpartition(b"/")[2])
        newest[window] = max(newest.get(window, (-1, 0)), (offset, total["views"]))
    return {window: views for window, (_, views) in newest.items()}
