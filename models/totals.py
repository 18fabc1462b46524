"""Totals over all partitions: what a partition adds to them, and the Records that tell them."""

from typing import Any, Literal

import faust

from models.activity import PageViews, SalesTotal, page_views
from models.record import twin

Total = Literal["users-per-minute", "sales-per-day", "top-pages"]


class Partial(faust.Record):
    """What the events of one partition add to a total.

    Attributes:
        table: which total.
        key: what is aggregated by; `ALL` where it is everything.
        partition: the partition that the events are from.
        window_start: first second of the window, seconds since the epoch.
        version: grows with each change; of two partials of a partition and window the higher one is newer.
        users: number of users; each is in one partition only.
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
    """How many users did something in a minute of event time; `final` is told once, the rest may change."""

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
    """The pages that were seen most in five minutes of event time, told once.

    Attributes:
        pages: the most seen first, of equal ones by name.
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
    """Make the record of what a partition adds to a total; `value` is the field of the total."""
    return _Partial(table, key, partition, start, version, **value)


def users_per_minute(start: int, end: int, result: dict[str, Any], *, final: bool) -> UsersPerMinute:
    """Make the record of a minute."""
    return _UsersPerMinute(start, end, result["users"], final)


def sales_per_day(country: str, start: int, end: int, result: dict[str, Any], *, final: bool) -> SalesPerDay:
    """Make the record of a country's day."""
    return _SalesPerDay(country, start, end, **result, final=final)


def top_pages(start: int, end: int, result: dict[str, Any]) -> TopPages:
    """Make the record of five minutes."""
    return _TopPages(start, end, page_views(result["pages"]), result["pages_error"])
