"""Views of each page over all partitions of `activity.raw`."""

from functools import partial

from app import app, topics
from millstream import Batches, Commit
from millstream.tables.windows import Window
from millstream.web.panels import Bars
from models.activity import PageCount, page_total
from tables.page_totals import MINUTE
from tables.page_totals import page_totals as totals

app.add_panels(Bars("Top pages, last whole minute", totals, by="views", ago=MINUTE))


@app.agent(topics.activity_page_counts)
async def page_totals(batches: Batches[PageCount]) -> None:
    """Add up the newest counts of a page's minute, one per partition."""
    async for batch in batches:
        async with batch.commit() as commit:
            views = totals.open(commit, changed=partial(send_page_total, commit))
            for count in batch:
                views.put(
                    count.page,
                    count.window_start,
                    count.views,
                    partition=count.partition,
                    version=count.version,
                )


def send_page_total(commit: Commit, window: Window) -> None:
    """Update the views of a page's minute in `activity.page-totals`."""
    record = page_total(window.key, window.start, window.end, window.result["views"])
    commit.update(topics.activity_page_totals, key=window.key, value=record, of=(window.key, window.start))
