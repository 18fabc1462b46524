"""Totals over all partitions: the partials of each partition, and the Records of the totals."""

from typing import Any, Literal

import faust

from millstream.records import twin
from models.activity import PageViews, SalesTotal, page_views

Total = Literal["users-per-minute", "sales-per-day", "top-pages"]


class Partial(faust.Record):
    """A partition's partial of a total.

    Attributes:
        table: the total.
        key: the aggregation key; `ALL` for everything.
        partition: the partition of the events.
        window_start: first second of the window, seconds since the epoch.
        version: increases with each change; of two partials of a partition and window the higher one is
            newer.
        users: number of users; each user is in one partition only.
        sales: the sales.
        pages: views by page, and how much too small they may be.
    """

    table: Total
    key: str
    partition: int
    window_start: int
    version: int
    users: int | None = None
    sales: SalesTotal | None = None
    pages: tuple[dict[str, int], int] | None = None


class UsersPerMinute(faust.Record):
    """Number of active users in a minute of event time; `final` is emitted once, other records may change."""

    window_start: int
    window_end: int
    users: int
    final: bool


class SalesPerDay(faust.Record):
    """Sales in a country on a day (UTC) of event time; `final` as in `UsersPerMinute`.

    Attributes:
        amount: purchases less refunds, in the currencies' units.
    """

    country: str
    window_start: int
    window_end: int
    purchases: int
    refunds: int
    amount: float
    final: bool


class TopPages(faust.Record):
    """The most viewed pages in five minutes of event time; emitted once.

    Attributes:
        pages: the most viewed first; pages with equal views are in name order.
        error: by how much the views may be too small; 0 unless there are very many pages.
    """

    window_start: int
    window_end: int
    pages: list[PageViews]
    error: int


ALL = "all"

_Partial = twin(Partial)
_UsersPerMinute = twin(UsersPerMinute)
_SalesPerDay = twin(SalesPerDay)
_TopPages = twin(TopPages)


def partial(table: Total, key: str, start: int, *, partition: int, version: int, **value: Any) -> Partial:
    """Return the record of a partition's partial; `value` is the total's field."""
    return _Partial(table=table, key=key, partition=partition, window_start=start, version=version, **value)


def users_per_minute(start: int, end: int, result: dict[str, Any], *, final: bool) -> UsersPerMinute:
    """Return the record of a minute."""
    return _UsersPerMinute(window_start=start, window_end=end, users=result["users"], final=final)


def sales_per_day(country: str, start: int, end: int, result: dict[str, Any], *, final: bool) -> SalesPerDay:
    """Return the record of a country's day."""
    return _SalesPerDay(country=country, window_start=start, window_end=end, **result, final=final)


def top_pages(start: int, end: int, result: dict[str, Any]) -> TopPages:
    """Return the record of five minutes."""
    return _TopPages(
        window_start=start, window_end=end, pages=page_views(result["pages"]), error=result["pages_error"]
    )
