"""Totals over all partitions: users per minute, sales per country and day, the pages seen most."""

from datetime import timedelta
from functools import partial

from app import topics
from app.engine.batch import Batches, Out
from app.panels import Bars, Line, show
from app.service import app, keep
from app.settings import settings
from models.activity import SalesTotals
from models.totals import ALL, Partial, sales_per_day, top_pages, users_per_minute
from tables.aggregates import Sum
from tables.sketches import TopN
from tables.totals import TotalTable
from tables.windows import Window

GRACE = settings().grace  # that of the partials
DAY = timedelta(days=1)

minutes = TotalTable("users-per-minute", size=timedelta(minutes=1), value=Sum("users"), grace=GRACE, keep=DAY)
days = TotalTable("sales-per-day", size=DAY, value=SalesTotals(), grace=GRACE, keep=400 * DAY)
pages = TotalTable("top-pages", size=timedelta(minutes=5), value=TopN("pages"), grace=GRACE, keep=DAY)
keep(topics.activity_partials, minutes, days, pages, keyed=True)
show(
    Line("Users per minute", minutes, key=ALL, by="users"),
    Bars("Sales by country, today", days, by="amount"),
)


@app.agent(topics.activity_partials)
async def totals(batches: Batches[Partial]) -> None:
    """Add up the newest partials of a window, one of each partition."""
    async for batch in batches:
        async with batch.commit() as out:
            users = minutes.open(
                out,
                changed=partial(send_users, out, final=False),
                closed=partial(send_users, out, final=True),
            )
            sales = days.open(
                out,
                changed=partial(send_sales, out, final=False),
                closed=partial(send_sales, out, final=True),
            )
            views = pages.open(out, closed=partial(send_pages, out))
            for one in batch:
                of = {"partition": one.partition, "version": one.version}
                if one.users is not None:
                    users.put(one.key, one.window_start, one.users, **of)
                elif one.sales is not None:
                    sales.put(one.key, one.window_start, one.sales, **of)
                elif one.pages is not None:
                    views.put(one.key, one.window_start, one.pages, **of)


def send_users(out: Out, window: Window, *, final: bool) -> None:
    """Tell the readers of `activity.users-per-minute` how far a minute has come."""
    record = users_per_minute(window.start, window.end, window.result, final=final)
    out.update(topics.activity_users_per_minute, key=ALL, value=record, of=window.start)


def send_sales(out: Out, window: Window, *, final: bool) -> None:
    """Tell the readers of `activity.sales-per-day` how far a country's day has come."""
    record = sales_per_day(window.key, window.start, window.end, window.result, final=final)
    out.update(topics.activity_sales_per_day, key=window.key, value=record, of=(window.key, window.start))


def send_pages(out: Out, window: Window) -> None:
    """Tell the readers of `activity.top-pages` what was seen most."""
    record = top_pages(window.start, window.end, window.result)
    out.send(topics.activity_top_pages, key=ALL, value=record)
