"""The same job as `agents/activity.py`, with Quix Streams; runs in the peers' environment.

Its state belongs to the key of a record: views and sales go through topics that are keyed by page and
country.
"""

import os
from datetime import timedelta
from typing import Any, NamedTuple

from quixstreams import Application, State, message_context

from bench.rules import DEDUP_SECONDS, MINUTE, parse, risk_level, window_start
from models.countries import region

PREFIX = os.environ["MILLSTREAM_TOPIC_PREFIX"]
DEDUP = timedelta(seconds=DEDUP_SECONDS)
DAY = timedelta(days=1)

Event = dict[str, Any]


class Broken(NamedTuple):
    """A value that is no event."""

    value: bytes | None


def read(value: bytes | None, _key: object, timestamp: int, _headers: object) -> Event | Broken:
    """Validate a value."""
    event = parse(value, timestamp / 1000)
    return Broken(value) if event is None else event


def first(event: Event, state: State) -> bool:
    """Remember an event; whether it is new."""
    name = event["event_id"]
    if state.exists(name):
        return False
    state.set(name, 1, ttl=DEDUP)
    return True


def enrich(event: Event) -> Event:
    """Add what we know."""
    return {
        **event,
        "risk_level": risk_level(event.get("amount")),
        "region": region(event.get("country")),
    }


def view(event: Event) -> Event:
    """Leave what is counted of a view."""
    partition = message_context().partition
    return {"page": event["page"], "partition": partition, "start": window_start(event["timestamp"])}


def count_view(seen: Event, state: State) -> Event:
    """Count a view of a page."""
    key = f"{seen['partition']}/{seen['start']}"
    views = state.get(key, 0) + 1
    state.set(key, views, ttl=DAY)
    start = seen["start"]
    return {
        "page": seen["page"],
        "partition": seen["partition"],
        "window_start": start,
        "window_end": start + MINUTE,
        "views": views,
    }


def sale(event: Event) -> Event:
    """Leave what is summed up of a purchase or refund."""
    return {
        "country": event.get("country") or "unknown",
        "start": window_start(event["timestamp"]),
        "refund": event["action"] == "refund",
        "micros": round((event.get("amount") or 0) * 1_000_000),
    }


def add_sale(sold: Event, state: State) -> None:
    """Add a purchase or refund."""
    key = str(sold["start"])
    purchases, refunds, micros = state.get(key, (0, 0, 0))
    total = purchases + (not sold["refund"]), refunds + sold["refund"], micros + sold["micros"]
    state.set(key, total, ttl=DAY)


app = Application(
    broker_address=os.environ["KAFKA_BOOTSTRAP_SERVERS"],
    consumer_group=os.environ["MILLSTREAM_APP_ID"],
    auto_offset_reset="earliest",
    state_dir=os.environ["MILLSTREAM_STATE_DIR"],
    producer_extra_config={"enable.idempotence": True, "compression.type": "lz4"},
)
raw = app.topic(f"{PREFIX}activity.raw", key_deserializer="bytes", value_deserializer="bytes")
dead_letters = app.topic(f"{PREFIX}activity.dead-letters", key_serializer="bytes", value_serializer="bytes")
enriched = app.topic(f"{PREFIX}activity.enriched", key_serializer="bytes", value_serializer="json")
page_counts = app.topic(f"{PREFIX}activity.page-counts", key_serializer="str", value_serializer="json")

records = app.dataframe(raw).apply(read, metadata=True)
records.filter(lambda it: isinstance(it, Broken)).apply(lambda it: it.value).to_topic(dead_letters)
events = records.filter(lambda it: not isinstance(it, Broken)).filter(first, stateful=True)
events.apply(enrich).to_topic(enriched)
(
    events.filter(lambda it: it["action"] == "view" and it.get("page") is not None)
    .apply(view)
    .group_by("page")
    .apply(count_view, stateful=True)
    .to_topic(page_counts)
)
(
    events.filter(lambda it: it["action"] in ("purchase", "refund"))
    .apply(sale)
    .group_by("country")
    .update(add_sale, stateful=True)
)

if __name__ == "__main__":
    app.run()
