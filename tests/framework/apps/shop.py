"""A shop: its visits in two stages, and totals over all partitions. It runs in memory only, in unit tests."""

import itertools
import random
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

import click
import faust
import orjson
from msgspec import Meta

import millstream
from millstream import Batches, Commit, EventTime, twin
from millstream.sources import record as sources
from millstream.sources.formats import RowFormat
from millstream.sources.generator import Generator
from millstream.sources.rows import Row
from millstream.tables.aggregates import Count, Several, Sum
from millstream.tables.dedup import DedupTable
from millstream.tables.origin_dedup import OriginDedupTable
from millstream.tables.sessions import Session, SessionTable
from millstream.tables.sketches import Distinct, TopN
from millstream.tables.totals import TotalTable
from millstream.tables.values import ValueTable
from millstream.tables.windows import Window, WindowTable
from millstream.web.panels import Bars

MINUTE = timedelta(minutes=1)
GRACE = 5 * MINUTE
DAY = timedelta(days=1)
ALL = "all"


class Visit(faust.Record):
    event_id: str
    user_id: str
    action: Literal["view", "buy", "login"]
    timestamp: EventTime
    page: str | None = None
    amount: Annotated[float, Meta(ge=0)] | None = None
    country: str | None = None


class PageCount(faust.Record):
    """Views of a page's minute in one partition; of two, the one with the higher version is newer."""

    page: str
    partition: int
    window_start: int
    views: int
    version: int


class Partial(faust.Record):
    """What one partition adds to a window of a total."""

    table: Literal["users-per-minute", "top-pages"]
    key: str
    partition: int
    window_start: int
    version: int
    users: int | None = None
    pages: tuple[dict[str, int], int] | None = None


app = millstream.App("shop", agents=())
raw = app.source_topic("shop.raw", Visit, key="user_id", dead_letters="shop.dead-letters")
clean = app.source_topic(
    "shop.clean",
    Visit,
    key="user_id",
    dead_letters="shop.clean.dead-letters",
    late="shop.late",
    idle=MINUTE,
    copartitioned=True,
    limits=False,
)
sessions = app.output_topic("shop.sessions", copartitioned=True)
page_counts = app.source_topic(
    "shop.page-counts",
    PageCount,
    key="page",
    dead_letters="shop.page-counts.dead-letters",
    event_time="window_start",
    limits=False,
)
page_totals = app.output_topic("shop.page-totals", copartitioned=True)
partials = app.source_topic(
    "shop.partials",
    Partial,
    key="key",
    dead_letters="shop.partials.dead-letters",
    event_time="window_start",
    late="shop.partials.late",
    behind=clean,
    limits=False,
)
users_per_minute = app.output_topic("shop.users-per-minute", copartitioned=True)
top_pages = app.output_topic("shop.top-pages", copartitioned=True)


class Tables:
    seen = DedupTable("seen", ttl=10 * MINUTE)
    page_views = WindowTable("page-views", size=MINUTE, value=Count("views"))
    sales = WindowTable(
        "sales", size=MINUTE, value=Several(Count("purchases"), Sum("amount", of=lambda visit: visit.amount))
    )
    users = ValueTable("users", value=Count("events"))
    sessions = SessionTable(
        "sessions",
        gap=30 * MINUTE,
        value=Several(Count("events"), Sum("amount", of=lambda visit: visit.amount or 0.0)),
        grace=GRACE,
        keep=7 * DAY,
    )
    taken = OriginDedupTable("users-taken")
    users_of_minutes = WindowTable(
        "users-of-minutes",
        size=MINUTE,
        value=Distinct("users", of=lambda visit: visit.user_id),
        grace=GRACE,
        keep=DAY,
    )
    views_of_pages = WindowTable(
        "views-of-pages", size=5 * MINUTE, value=TopN("pages", of=lambda v: v.page), grace=GRACE, keep=DAY
    )
    page_totals = TotalTable("page-totals", size=MINUTE, value=Count("views"))
    users_per_minute = TotalTable("users-per-minute", size=MINUTE, value=Sum("users"), grace=GRACE, keep=DAY)
    top_pages = TotalTable("top-pages", size=5 * MINUTE, value=TopN("pages"), grace=GRACE, keep=DAY)


app.add_tables(raw, Tables.seen, Tables.page_views, Tables.sales)
app.add_tables(raw, Tables.users, keyed=True)
app.add_tables(clean, Tables.sessions, keyed=True)
app.add_tables(clean, Tables.taken, Tables.users_of_minutes, Tables.views_of_pages)
app.add_tables(page_counts, Tables.page_totals, keyed=True)
app.add_tables(partials, Tables.users_per_minute, Tables.top_pages, keyed=True)
app.add_panels(
    Bars("Sales by country, last whole minute", Tables.sales, by="amount", ago=MINUTE),
    Bars("Top pages, last whole minute", Tables.page_totals, by="views", ago=MINUTE),
)
_PageCount, _Partial = twin(PageCount), twin(Partial)


@app.agent(raw)
async def visits(batches: Batches[Visit]) -> None:
    """Pass each visit on once, and count views per page and sales per country."""
    async for batch in batches:
        async with batch.commit() as commit:
            views = Tables.page_views.open(commit, changed=partial(send_page_count, commit))
            sales, users = Tables.sales.open(commit), Tables.users.open(commit)
            for visit in Tables.seen.open(commit).first(batch):
                commit.send(clean, key=visit.user_id, value=visit)
                users.add(visit.user_id, visit, at=visit.timestamp)
                if visit.action == "view" and visit.page is not None:
                    views.add(visit.page, 1, at=visit.timestamp)
                elif visit.action == "buy":
                    sales.add(visit.country or "unknown", visit, at=visit.timestamp)


def send_page_count(commit: Commit, window: Window) -> None:
    value = _PageCount(
        page=window.key,
        partition=commit.partition,
        window_start=window.start,
        views=window.result["views"],
        version=commit.version,
    )
    commit.update(page_counts, key=window.key, value=value, of=(window.key, window.start))


@app.agent(page_counts)
async def add_pages(batches: Batches[PageCount]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            views = Tables.page_totals.open(commit, changed=partial(send_page_total, commit))
            for one in batch:
                of = {"partition": one.partition, "version": one.version}
                views.put(one.page, one.window_start, one.views, **of)


def send_page_total(commit: Commit, window: Window) -> None:
    value = {"page": window.key, "window_start": window.start, **window.result}
    commit.update(page_totals, key=window.key, value=value, of=(window.key, window.start))


@app.agent(clean)
async def users(batches: Batches[Visit]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            of_users = Tables.sessions.open(commit, closed=partial(send_session, commit))
            active = Tables.users_of_minutes.open(commit, changed=partial(send_users, commit))
            views = Tables.views_of_pages.open(commit, closed=partial(send_pages, commit))
            for visit in Tables.taken.open(commit).first(batch):
                of_users.add(visit.user_id, visit, at=visit.timestamp)
                active.add(ALL, visit, at=visit.timestamp)
                if visit.action == "view":
                    views.add(ALL, visit, at=visit.timestamp)


def send_session(commit: Commit, session: Session) -> None:
    value = {"user_id": session.key, "start": session.start, "end": session.end, **session.result}
    commit.send(sessions, key=session.key, value=value)


def send_users(commit: Commit, window: Window) -> None:
    _send_partial(commit, "users-per-minute", window, users=window.result["users"])


def send_pages(commit: Commit, window: Window) -> None:
    _send_partial(commit, "top-pages", window, pages=window.total)


def _send_partial(commit: Commit, table: Any, window: Window, **value: Any) -> None:
    record = _Partial(
        table=table,
        key=window.key,
        partition=commit.partition,
        window_start=window.start,
        version=commit.version,
        **value,
    )
    commit.update(partials, key=window.key, value=record, of=(table, window.key, window.start))


@app.agent(partials)
async def totals(batches: Batches[Partial]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counted = Tables.users_per_minute.open(
                commit,
                changed=partial(send_total_users, commit, final=False),
                closed=partial(send_total_users, commit, final=True),
            )
            views = Tables.top_pages.open(commit, closed=partial(send_top_pages, commit))
            for one in batch:
                of = {"partition": one.partition, "version": one.version}
                if one.users is not None:
                    counted.put(one.key, one.window_start, one.users, **of)
                elif one.pages is not None:
                    views.put(one.key, one.window_start, one.pages, **of)


def send_total_users(commit: Commit, window: Window, *, final: bool) -> None:
    value = {"window_start": window.start, "window_end": window.end, **window.result, "final": final}
    commit.update(users_per_minute, key=ALL, value=value, of=window.start)


def send_top_pages(commit: Commit, window: Window) -> None:
    commit.send(top_pages, key=ALL, value={"window_start": window.start, **window.result})


def visit_of(row: Row) -> bytes:
    return orjson.dumps({name: cell for name, cell in row.items() if cell})


def sale_of(row: Row) -> bytes:
    sale = {"event_id": row["sale"], "user_id": row["customer"], "action": "buy", "timestamp": row["at"]}
    return orjson.dumps(sale)


def made_up(
    *, seed: int, count: int | None, rate: float, start: float, pages: int
) -> Iterator[sources.Record]:
    """Yield views of pages at random."""
    chosen = random.Random(seed)
    for number in range(count) if count is not None else itertools.count():
        at = start + number / (rate or 10_000)
        user, page = f"user-{chosen.randrange(100)}", f"/{chosen.randrange(pages)}"
        view = {"event_id": f"{seed}-{start}-{number}", "user_id": user, "action": "view", "page": page}
        yield sources.Record(user.encode(), orjson.dumps(view | {"timestamp": at}), at)


app.add_file_formats(
    RowFormat("visits", raw, ("event_id", "user_id", "action", "timestamp"), visit_of, json_is_value=True),
    RowFormat("sales", raw, ("sale", "customer", "at"), sale_of),
)
pages_option = click.Option(["--pages"], type=click.IntRange(1), default=50, show_default=True)
app.add_generator(Generator(raw, made_up, options=(pages_option,), about="Views of the shop's pages."))

__all__ = ["app"]
