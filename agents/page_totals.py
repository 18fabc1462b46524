"""Views of each page over all partitions of `activity.raw`."""

from functools import partial

from agents.activity import MINUTE
from app import topics
from app.engine.batch import Batches, Out
from app.panels import Bars, show
from app.service import app, keep
from models.activity import PageCount, page_total
from tables.aggregates import Count
from tables.totals import TotalTable
from tables.windows import Window

totals = TotalTable("page-totals", size=MINUTE, value=Count("views"))
keep(topics.activity_page_counts, totals, keyed=True)
show(Bars("Top pages, last whole minute", totals, by="views", ago=MINUTE))


@app.agent(topics.activity_page_counts)
async def page_totals(batches: Batches[PageCount]) -> None:
    """Add up the newest counts of a page's minute, one of each partition."""
    async for batch in batches:
        async with batch.commit() as out:
            views = totals.open(out, changed=partial(send_page_total, out))
            for count in batch:
                views.put(
                    count.page,
                    count.window_start,
                    count.views,
                    partition=count.partition,
                    version=count.version,
                )


def send_page_total(out: Out, window: Window) -> None:
    """Tell the readers of `activity.page-totals` how far a page's minute has come."""
    record = page_total(window.key, window.start, window.end, window.result["views"])
    out.update(topics.activity_page_totals, key=window.key, value=record, of=(window.key, window.start))
