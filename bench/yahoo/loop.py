"""The ad events, by hand; see `bench/peers/loop.py`."""

from collections import Counter
from typing import Any

import orjson
from confluent_kafka import Message

from bench.peers.loop import Out, Window, run
from bench.yahoo.campaigns import CAMPAIGN_OF, WINDOW


def work(messages: list[Message], out: Out) -> None:
    """Deduplicate, filter, join and count a batch."""
    events, ids = [], []
    for message in messages:
        number, value = message.partition(), message.value()
        try:
            event: dict[str, Any] = orjson.loads(value)
            name, moment = event["event_id"].encode(), event["event_time"] / 1000
        except (ValueError, TypeError, KeyError, AttributeError):
            out.send("ads.dead-letters", message.key(), value, number)
            continue
        events.append((number, moment, event))
        ids.append((name, moment, number))
    views: Counter[Window] = Counter()
    for (number, moment, event), first in zip(events, out.first(ids), strict=True):
        if first and event.get("event_type") == "view":
            campaign = CAMPAIGN_OF.get(event.get("ad_id", ""))
            if campaign is not None:
                views[number, int(moment) // WINDOW * WINDOW, campaign] += 1
    out.keep(out.count(views, "ads.counts", "campaign_id", WINDOW))


if __name__ == "__main__":
    run("ads.raw", work)
