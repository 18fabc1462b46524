"""The same job as `agents/activity.py`, event by event: what one writes with Faust and its defaults.

`faust -A bench.peers.plain worker` runs it, with Millstream's settings for Kafka, topics and folder. It does
a little less: `seen` remembers ids for ever, and nothing here is exact through a crash.
"""

from datetime import datetime
from typing import Any

import faust
from faust.types import Message

from bench.peers.plain_app import app, conf
from bench.rules import (
    MAX_EVENT_BYTES,
    MAX_FUTURE_SECONDS,
    MINUTE,
    moment,
    risk_level,
    valid,
    window_start,
)
from models.countries import region


# Faust's `validation=True` would coerce too, and let `"amount": "12.50"` pass: `valid` checks instead.
class Activity(faust.Record, isodates=True, date_parser=moment, include_metadata=False):  # type: ignore[call-arg] # Faust has no types
    """One thing that a user did."""

    event_id: str
    user_id: str
    action: str
    timestamp: datetime
    page: str | None = None
    amount: float | None = None
    quantity: int | None = None
    currency: str | None = None
    country: str | None = None
    session_id: str | None = None
    attributes: dict[str, Any] | None = None


class Enriched(Activity, include_metadata=False):  # type: ignore[call-arg] # as above
    """An event seen for the first time, with what we know about it."""

    risk_level: str = "low"
    region: str | None = None


class PageCount(faust.Record, include_metadata=False):  # type: ignore[call-arg] # as above
    """Views of a page in one minute, of one source partition."""

    page: str
    partition: int
    window_start: int
    window_end: int
    views: int


class Sales(faust.Record, include_metadata=False):  # type: ignore[call-arg] # as above
    """Sales in one minute; `micros` are millionths of the currency's unit."""

    purchases: int = 0
    refunds: int = 0
    micros: int = 0


class RawTopic(faust.Topic):
    """A topic whose values that cannot be decoded become dead letters."""

    async def on_value_decode_error(self, exc: Exception, message: Message) -> None:  # noqa: ARG002 (Faust's signature)
        """Faust's own way would stop the agent."""
        await dead_letters.send(key=message.key, value=message.value)


raw = RawTopic(app, topics=[conf.topic("activity.raw")], key_type=str, value_type=Activity)
dead_letters = app.topic(conf.topic("activity.dead-letters"), key_type=bytes, value_type=bytes)
enriched = app.topic(conf.topic("activity.enriched"), key_type=str, value_type=Enriched)
page_counts = app.topic(conf.topic("activity.page-counts"), key_type=str, value_type=PageCount)

seen = app.Table("seen", key_type=str, value_type=bool, default=bool)
page_views = app.Table("page-views", default=int).tumbling(MINUTE).relative_to_field(Activity.timestamp)
sales = (
    app.Table("sales", default=Sales, value_type=Sales).tumbling(MINUTE).relative_to_field(Activity.timestamp)
)


@app.agent(raw)
async def activity(stream: faust.Stream[Activity]) -> None:
    """Validate, deduplicate, enrich and count each event."""
    async for item in stream.events():
        event, message = item.value, item.message
        if (
            not valid(vars(event))
            or len(message.value) > MAX_EVENT_BYTES
            or event.timestamp.timestamp() - message.timestamp > MAX_FUTURE_SECONDS
        ):
            await dead_letters.send(key=message.key, value=message.value)
            continue
        if event.event_id in seen:
            continue
        seen[event.event_id] = True
        more = {"risk_level": risk_level(event.amount), "region": region(event.country)}
        await enriched.send(key=event.user_id, value=Enriched(**event.asdict(), **more))
        if event.action == "view" and event.page is not None:
            views = page_views[event.page].value() + 1
            page_views[event.page] = views
            start = window_start(event.timestamp.timestamp())
            count = PageCount(event.page, message.partition, start, start + MINUTE, views)
            await page_counts.send(key=event.page, value=count)
        elif event.action in ("purchase", "refund"):
            country = event.country or "unknown"
            total = sales[country].value()
            total.purchases += event.action == "purchase"
            total.refunds += event.action == "refund"
            total.micros += round((event.amount or 0) * 1_000_000)
            sales[country] = total
