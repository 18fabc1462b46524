"""The ad events with Millstream, as its users would write it: `faust -A bench.yahoo.app worker`."""

from datetime import timedelta
from functools import partial
from typing import Literal

import faust

import millstream
from bench.yahoo.campaigns import CAMPAIGN_OF
from millstream import Batches, Commit, EventTime, twin
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.windows import Window, WindowTable


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

# As the default of the example, which all contestants have.
DEDUP_TTL = timedelta(minutes=10)

app = millstream.App("ads", agents=())
raw = app.source_topic(
    "ads.raw", AdEvent, key="user_id", dead_letters="ads.dead-letters", event_time="event_time"
)
counts = app.output_topic("ads.counts", CampaignCount)
seen = DedupTable("seen", ttl=DEDUP_TTL, event_time="event_time")
campaign_views = WindowTable("campaign-views", size=timedelta(seconds=10), value=Count("views"))
app.add_tables(raw, seen, campaign_views)


@app.agent(raw)
async def ads(batches: Batches[AdEvent]) -> None:
    """Count the views of each campaign."""
    async for batch in batches:
        async with batch.commit() as commit:
            views = campaign_views.open(commit, changed=partial(send_count, commit))
            for event in seen.open(commit).first(batch):
                campaign = CAMPAIGN_OF.get(event.ad_id)
                if event.event_type == "view" and campaign is not None:
                    views.add(campaign, 1, at=event.event_time)


def send_count(commit: Commit, window: Window) -> None:
    """Send the newest count of a campaign's ten seconds."""
    value = _CampaignCount(
        campaign_id=window.key,
        partition=commit.partition,
        window_start=window.start,
        window_end=window.end,
        views=window.result["views"],
    )
    commit.update(counts, key=window.key, value=value, of=(window.key, window.start))


__all__ = ["app"]
