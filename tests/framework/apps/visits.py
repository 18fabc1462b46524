"""Visits of a site: each visit once, views of pages by partition, and their totals over all partitions."""

from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

import faust
from msgspec import Meta

import millstream
from millstream import Batches, Commit, EventTime, twin
from millstream.tables.aggregates import Count, Several, Sum
from millstream.tables.dedup import DedupTable
from millstream.tables.totals import TotalTable
from millstream.tables.values import ValueTable
from millstream.tables.windows import Window, WindowTable

MINUTE = timedelta(minutes=1)


class Visit(faust.Record):
    event_id: str
    user_id: str
    action: Literal["view", "buy"]
    timestamp: EventTime
    page: str | None = None
    pieces: Annotated[int, Meta(ge=1)] | None = None
    notes: dict[str, Any] | None = None


class PageCount(faust.Record):
    """Views of a page's minute in one partition; of two, the one with the higher version is newer."""

    page: str
    partition: int
    window_start: int
    views: int
    version: int


class PageTotal(faust.Record):
    page: str
    window_start: int
    views: int


app = millstream.App("visits", agents=())
raw = app.source_topic("visits.raw", Visit, key="user_id", dead_letters="visits.dead-letters")
clean = app.output_topic("visits.clean", Visit, copartitioned=True)
page_counts = app.source_topic(
    "visits.page-counts",
    PageCount,
    key="page",
    dead_letters="visits.page-counts.dead-letters",
    event_time="window_start",
    limits=False,
)
page_totals = app.output_topic("visits.page-totals", PageTotal, copartitioned=True)

seen = DedupTable("seen", ttl=timedelta(minutes=10))
page_views = WindowTable("page-views", size=MINUTE, value=Count("views"))
sales = WindowTable(
    "sales", size=MINUTE, value=Several(Count("purchases"), Sum("pieces", of=lambda visit: visit.pieces))
)
app.add_tables(raw, seen, page_views, sales)
users = ValueTable("users", value=Count("visits"))
app.add_tables(raw, users, keyed=True)
totals = TotalTable("page-totals", size=MINUTE, value=Count("views"))
app.add_tables(page_counts, totals, keyed=True)

_PageCount, _PageTotal = twin(PageCount), twin(PageTotal)


@app.agent(raw)
async def visits(batches: Batches[Visit]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            views = page_views.open(commit, changed=partial(send_count, commit))
            sold, known = sales.open(commit), users.open(commit)
            for visit in seen.open(commit).first(batch):
                commit.send(clean, key=visit.user_id, value=visit)
                known.add(visit.user_id, visit, at=visit.timestamp)
                if visit.action == "view" and visit.page is not None:
                    views.add(visit.page, visit, at=visit.timestamp)
                elif visit.action == "buy":
                    sold.add(visit.user_id, visit, at=visit.timestamp)


def send_count(commit: Commit, window: Window) -> None:
    value = _PageCount(
        page=window.key,
        partition=commit.partition,
        window_start=window.start,
        views=window.result["views"],
        version=commit.version,
    )
    commit.update(page_counts, key=window.key, value=value, of=(window.key, window.start))


@app.agent(page_counts)
async def add_up(batches: Batches[PageCount]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            views = totals.open(commit, changed=partial(send_total, commit))
            for one in batch:
                of = {"partition": one.partition, "version": one.version}
                views.put(one.page, one.window_start, one.views, **of)


def send_total(commit: Commit, window: Window) -> None:
    value = _PageTotal(page=window.key, window_start=window.start, views=window.result["views"])
    commit.update(page_totals, key=window.key, value=value, of=(window.key, window.start))


__all__ = ["app"]
