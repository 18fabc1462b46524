"""The ad events with Millstream, as its users would write it: `faust -A bench.yahoo.app worker`."""

from datetime import timedelta
from functools import partial
from typing import Literal

import faust

from app.engine.batch import Batches, Out
from app.service import app, keep, output_topic, source_topic
from app.settings import settings
from app.web import views
from bench.yahoo.campaigns import CAMPAIGN_OF
from models.record import EventTime, twin
from tables.aggregates import Count
from tables.seen import SeenTable
from tables.windows import Window, WindowTable


class AdEvent(faust.Record):
    """Something that happened to an ad."""

    event_id: str
    user_id: str
    page_id: str
    ad_id: str
    ad_type: Literal["banner", "modal", "sponsored-search", "mail", "mobile"]
    event_type: Literal["view", "click", "purchase"]
    event_time: EventTime
    ip_address: str


class CampaignCount(faust.Record):
    """Views of a campaign's ads in ten seconds, of one source partition."""

    campaign_id: str
    partition: int
    window_start: int
    window_end: int
    views: int


_CampaignCount = twin(CampaignCount)

raw = source_topic(
    "ads.raw", AdEvent, key="user_id", dead_letters="ads.dead-letters", event_time="event_time"
)
counts = output_topic("ads.counts", CampaignCount)
seen = SeenTable("seen", ttl=settings().dedup_ttl, event_time="event_time")
campaign_views = WindowTable("campaign-views", size=timedelta(seconds=10), value=Count("views"))
keep(raw, seen, campaign_views)


@app.agent(raw)
async def ads(batches: Batches[AdEvent]) -> None:
    """Count the views of each campaign."""
    async for batch in batches:
        async with batch.commit() as out:
            views = campaign_views.open(out, changed=partial(send_count, out))
            for event in seen.open(out).first(batch):
                campaign = CAMPAIGN_OF.get(event.ad_id)
                if event.event_type == "view" and campaign is not None:
                    views.add(campaign, 1, at=event.event_time)


def send_count(out: Out, window: Window) -> None:
    """Tell how far a campaign's ten seconds have come."""
    value = _CampaignCount(window.key, out.partition, window.start, window.end, window.result["views"])
    out.update(counts, key=window.key, value=value, of=(window.key, window.start))


__all__ = ["app", "views"]
