"""User activity and purchases: validate, deduplicate, enrich and count."""

from datetime import timedelta
from functools import partial

from app import topics
from app.engine.batch import Batches, Out
from app.panels import Bars, show
from app.service import app, keep
from app.settings import settings
from models.activity import ActivityEvent, SalesTotals, enriched, page_count
from tables.aggregates import Count
from tables.seen import SeenTable
from tables.windows import Window, WindowTable

MINUTE = timedelta(minutes=1)

seen = SeenTable("seen", ttl=settings().dedup_ttl)
page_views = WindowTable("page-views", size=MINUTE, value=Count("views"))
sales = WindowTable("sales", size=MINUTE, value=SalesTotals())
keep(topics.activity_raw, seen, page_views, sales)
show(Bars("Sales by country, last whole minute", sales, by="amount", ago=MINUTE))


@app.agent(topics.activity_raw)
async def activity(batches: Batches[ActivityEvent]) -> None:
    """Enrich each event once, and count views per page and sales per country."""
    async for batch in batches:
        async with batch.commit() as out:
            views = page_views.open(out, changed=partial(send_page_count, out))
            revenue = sales.open(out)
            for event in seen.open(out).first(batch):
                out.send(topics.activity_enriched, key=event.user_id, value=enriched(event))
                if event.action == "view" and event.page is not None:
                    views.add(event.page, 1, at=event.timestamp)
                elif event.action in ("purchase", "refund"):
                    revenue.add(event.country or "unknown", event, at=event.timestamp)


def send_page_count(out: Out, window: Window) -> None:
    """Tell the readers of `activity.page-counts` how far a page's minute has come."""
    record = page_count(
        window.key,
        window.start,
        window.end,
        partition=out.partition,
        views=window.result["views"],
        version=out.version,
    )
    out.update(topics.activity_page_counts, key=window.key, value=record, of=(window.key, window.start))
