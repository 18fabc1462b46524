"""Totals over all partitions: users per minute, sales by country and day, the most viewed pages."""

from functools import partial

from app import app, topics
from millstream import Batches, Commit
from millstream.tables.windows import Window
from millstream.web.panels import Bars, Line
from models import totals as records
from models.totals import ALL, Partial
from tables import totals as tables

app.add_panels(
    Line("Users per minute", tables.users_per_minute, key=ALL, by="users"),
    Bars("Sales by country, today", tables.sales_per_day, by="amount"),
)


@app.agent(topics.activity_partials)
async def totals(batches: Batches[Partial]) -> None:
    """Add up the newest partials of a window, one per partition."""
    async for batch in batches:
        async with batch.commit() as commit:
            users = tables.users_per_minute.open(
                commit,
                changed=partial(send_users, commit, final=False),
                closed=partial(send_users, commit, final=True),
            )
            sales = tables.sales_per_day.open(
                commit,
                changed=partial(send_sales, commit, final=False),
                closed=partial(send_sales, commit, final=True),
            )
            views = tables.top_pages.open(commit, closed=partial(send_pages, commit))
            for one in batch:
                of = {"partition": one.partition, "version": one.version}
                if one.users is not None:
                    users.put(one.key, one.window_start, one.users, **of)
                elif one.sales is not None:
                    sales.put(one.key, one.window_start, one.sales, **of)
                elif one.pages is not None:
                    views.put(one.key, one.window_start, one.pages, **of)


def send_users(commit: Commit, window: Window, *, final: bool) -> None:
    """Update the users of a minute in `activity.users-per-minute`."""
    record = records.users_per_minute(window.start, window.end, window.result, final=final)
    commit.update(topics.activity_users_per_minute, key=ALL, value=record, of=window.start)


def send_sales(commit: Commit, window: Window, *, final: bool) -> None:
    """Update the sales of a country's day in `activity.sales-per-day`."""
    record = records.sales_per_day(window.key, window.start, window.end, window.result, final=final)
    commit.update(topics.activity_sales_per_day, key=window.key, value=record, of=(window.key, window.start))


def send_pages(commit: Commit, window: Window) -> None:
    """Send the most viewed pages to `activity.top-pages`."""
    record = records.top_pages(window.start, window.end, window.result)
    commit.send(topics.activity_top_pages, key=ALL, value=record)
