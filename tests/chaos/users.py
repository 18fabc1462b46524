"""The main job with all of its agents: sessions and totals beside what `Activity` checks."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from millstream.sources.record import Record
from tests import truth
from tests.chaos.activity import START, Activity
from tests.framework.chaos.report import Report
from tests.framework.chaos.tables import Tables
from tests.framework.service import Service
from tests.last import is_last, last_events

# What comes out of order is not late.
SETTINGS = {"MILLSTREAM_AGENTS": "activity,page_totals,users,totals", "MILLSTREAM_GRACE": "PT10M"}
LATER = START + 400 * 86400  # no file of the past goes so far
CLOSING_SECONDS = 60


class Users(Activity):
    """`Activity` with event time that passes faster, and an end to all windows."""

    derived = (*Activity.derived, "activity.enriched", "activity.partials")

    # Windows close all the time.
    pace = 60.0

    def records(self) -> Iterator[Record]:
        return chain(super().records(), map(_record, last_events(LATER)))

    def check(self, service: Service, tables: Tables, report: Report) -> None:
        super().check(service, tables, report)
        records = service.read_once("activity.enriched")
        events = [json.loads(record.value) for record in records]
        right = {
            topic: Counter(map(_text, find(one for one in events if not is_last(one["user_id"]))))
            for topic, find in truth.FINAL.items()
        }
        deadline = time.monotonic() + CLOSING_SECONDS
        while True:
            found = {topic: _final(service, topic) for topic in truth.FINAL}
            if all(not right[topic] - found[topic] for topic in truth.FINAL) or time.monotonic() > deadline:
                break
        for topic, told in found.items():
            report.expected += right[topic].total()
            report.lost += (right[topic] - told).total()
            report.doubled += (told - right[topic]).total()
            for text in [*(right[topic] - told), *(told - right[topic])]:
                report.compare(topic, text in told, text in right[topic])
        known = {one["user_id"]: one for one in truth.profiles(_in_time(events))}
        newest = _newest(service.read("activity.profiles"))
        for user in known.keys() | newest.keys():
            pair = [newest.get(user, {}), known.get(user, {})]
            report.compare(f"profile of {user}", *truth.without_uncounted_pages(pair, pair[:1]))
        report.more["final"] = sum(counts.total() for counts in right.values())
        for topic in ("activity.late", "activity.partials.late"):
            report.compare(topic, len(service.read(topic)), 0)


def _record(event: truth.Event) -> Record:
    return Record(event["user_id"].encode(), json.dumps(event).encode(), event["timestamp"])


def _in_time(events: list[truth.Event]) -> list[truth.Event]:
    return sorted(events, key=lambda one: one["timestamp"])


def _newest(records: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """Return the newest value of each key: a frozen worker may send old ones late."""
    newest: dict[str, tuple[int, str]] = {}
    for record in records:
        offset = int(dict(record.headers)["origin"].rpartition(b"/")[2])
        key = record.key.decode()
        newest[key] = max(newest.get(key, (-1, "")), (offset, _text(json.loads(record.value))))
    return {key: json.loads(text) for key, (_, text) in newest.items()}


def _final(service: Service, topic: str) -> Counter[str]:
    """Return the final results that were sent, repeats with the same origin and bytes removed."""
    values = [json.loads(record.value) for record in service.read_once(topic)]
    return Counter(_text(one) for one in values if one.get("final", True))


def _text(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)
