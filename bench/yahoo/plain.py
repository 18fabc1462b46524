"""The ad events, event by event: what one writes with Faust and its defaults."""

import faust
from faust.types import EventT

from bench.peers.plain_app import app, conf
from bench.yahoo.campaigns import CAMPAIGN_OF, WINDOW


class AdEvent(faust.Record, include_metadata=False):  # type: ignore[call-arg] # Faust has no types
    """Something that happened to an ad; the time is in milliseconds."""

    event_id: str
    user_id: str
    page_id: str
    ad_id: str
    ad_type: str
    event_type: str
    event_time: int
    ip_address: str


class CampaignCount(faust.Record, include_metadata=False):  # type: ignore[call-arg] # as above
    """Views of a campaign's ads in ten seconds, of one source partition."""

    campaign_id: str
    partition: int
    window_start: int
    window_end: int
    views: int


def seconds(event: EventT) -> float:
    """Event time, seconds since the epoch."""
    return float(event.value.event_time / 1000)


raw = app.topic(conf.topic("ads.raw"), key_type=str, value_type=AdEvent)
counts = app.topic(conf.topic("ads.counts"), key_type=str, value_type=CampaignCount)
seen = app.Table("seen", key_type=str, value_type=bool, default=bool)
campaign_views = app.Table("campaign-views", default=int).tumbling(WINDOW).relative_to(seconds)


@app.agent(raw)
async def ads(stream: faust.Stream[AdEvent]) -> None:
    """Count the views of each campaign."""
    async for item in stream.events():
        event = item.value
        if event.event_id in seen:
            continue
        seen[event.event_id] = True
        campaign = CAMPAIGN_OF.get(event.ad_id)
        if event.event_type == "view" and campaign is not None:
            views = campaign_views[campaign].value() + 1
            campaign_views[campaign] = views
            start = int(seconds(item)) // WINDOW * WINDOW
            count = CampaignCount(campaign, item.message.partition, start, start + WINDOW, views)
            await counts.send(key=campaign, value=count)
