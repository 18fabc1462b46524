"""User activity and purchases: validate, deduplicate, enrich and count."""

from functools import partial

from app import app, topics
from millstream import Batches, Commit
from millstream.tables.windows import Window
from millstream.web.panels import Bars
from models.activity import ActivityEvent, enriched, page_count
from tables.activity import MINUTE, page_views, sales, seen

app.add_panels(Bars("Sales by country, last whole minute", sales, by="amount", ago=MINUTE))


@app.agent(topics.activity_raw)
async def activity(batches: Batches[ActivityEvent]) -> None:
    """Enrich each event once, and count views per page and sales per country."""
    async for batch in batches:
        async with batch.commit() as commit:
            views = page_views.open(commit, changed=partial(send_page_count, commit))
            revenue = sales.open(commit)
            for event in seen.open(commit).first(batch):
                commit.send(topics.activity_enriched, key=event.user_id, value=enriched(event))
                if event.action == "view" and event.page is not None:
                    views.add(event.page, 1, at=event.timestamp)
                elif event.action in ("purchase", "refund"):
                    revenue.add(event.country or "unknown", event, at=event.timestamp)


def send_page_count(commit: Commit, window: Window) -> None:
    """Update the views of a page's minute in `activity.page-counts`."""
    record = page_count(
        window.key,
        window.start,
        window.end,
        partition=commit.partition,
        views=window.result["views"],
        version=commit.version,
    )
    commit.update(topics.activity_page_counts, key=window.key, value=record, of=(window.key, window.start))
