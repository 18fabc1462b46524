"""The same job as `agents/activity.py`, by hand; see `bench/peers/loop.py`."""

from collections import Counter

import orjson
from confluent_kafka import Message

from bench.peers.loop import Out, Window, now, row, run
from bench.rules import MINUTE, parse, risk_level, window_start
from models.countries import region

Sales = tuple[int, int, int]
"""Purchases, refunds, and millionths of the currency's unit."""


def work(messages: list[Message], out: Out) -> None:
    """Validate, deduplicate, enrich and count a batch."""
    events, ids = [], []
    latest = now()
    for message in messages:
        key, number, value = message.key(), message.partition(), message.value()
        event = parse(value, latest)
        if event is None:
            out.send("activity.dead-letters", key, value, number)
        else:
            events.append((key, number, event))
            ids.append((event["event_id"].encode(), event["timestamp"], number))
    views: Counter[Window] = Counter()
    sales: dict[Window, Sales] = {}
    for (key, number, event), first in zip(events, out.first(ids), strict=True):
        if not first:
            continue
        action, amount = event["action"], event.get("amount")
        if action == "view":
            if (page := event.get("page")) is not None:
                views[number, window_start(event["timestamp"]), page] += 1
        elif action in ("purchase", "refund"):
            window = number, window_start(event["timestamp"]), event.get("country") or "unknown"
            sales[window] = _add(sales.get(window, (0, 0, 0)), action, amount)
        event["risk_level"] = risk_level(amount)
        event["region"] = region(event.get("country"))
        out.send("activity.enriched", key, orjson.dumps(event), number)
    _keep(out, views, sales)


def _add(total: Sales, action: str, amount: float | None) -> Sales:
    refund = action == "refund"
    return total[0] + (not refund), total[1] + refund, total[2] + round((amount or 0) * 1_000_000)


def _keep(out: Out, views: Counter[Window], sales: dict[Window, Sales]) -> None:
    """Add a batch's counts to the stored ones."""
    rows = out.count(views, "activity.page-counts", "page", MINUTE)
    keys = [row(b"s", window) for window in sales]
    for key, total, stored in zip(keys, sales.values(), out.windows(keys), strict=True):
        before = orjson.loads(stored) if stored else (0, 0, 0)
        rows[key] = orjson.dumps([old + new for old, new in zip(before, total, strict=True)])
    out.keep(rows)


if __name__ == "__main__":
    run("activity.raw", work)
