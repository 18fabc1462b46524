"""User activity and purchases: the Records, and the rules that need only an event."""

from typing import Annotated, Any, Literal

import faust
import msgspec
from msgspec import Meta

from millstream import EventTime, Fallback, From, twin
from models.countries import region

Id = Annotated[str, Meta(min_length=1, max_length=128)]
Action = Literal["view", "click", "search", "login", "logout", "rating", "purchase", "refund"]
RiskLevel = Literal["low", "medium", "high"]


class ActivityEvent(faust.Record):
    """An action of a user.

    Attributes:
        event_id: id of the event; the same for every repeat. Without one, each record is an event of its own.
        user_id: the user; the key of the topic. A number is taken as its digits.
        timestamp: event time; without one, when Kafka has got the record.
        amount: money in units of `currency`, negative for a refund.
        quantity: number of pieces, negative for a refund.
        country: ISO-3166 code or English name.
        attributes: further data, passed through.
    """

    event_id: Annotated[Id, From(numbers=True, fallback=Fallback.ORIGIN)]
    user_id: Annotated[Id, From("userid", numbers=True)]
    action: Action
    timestamp: Annotated[EventTime, From(fallback=Fallback.RECORD_TIME)]
    page: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None
    amount: Annotated[float, Meta(ge=-1000000000.0, le=1000000000.0)] | None = None
    quantity: Annotated[int, Meta(ge=-1000000000, le=1000000000)] | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    country: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    session_id: Id | None = None
    attributes: Annotated[dict[str, Any], Meta(max_length=64)] | None = None


class EnrichedActivity(ActivityEvent):
    """The first occurrence of an `ActivityEvent`, with additional facts."""

    risk_level: RiskLevel = "low"
    region: str | None = None


class PageCount(faust.Record):
    """Views of a page in one minute of event time, up to and including the event that is the record's origin.

    A page's events are in several partitions: its total is the sum of the newest counts of all partitions.

    Attributes:
        partition: the source partition of the views.
        window_start: first second of the minute, seconds since the epoch.
        window_end: first second after it.
        version: increases with each change of the partition's windows; of two counts of a minute and
            partition, the one with the higher version is newer.
    """

    page: str
    partition: int
    window_start: int
    window_end: int
    views: int
    version: int


class PageTotal(faust.Record):
    """Views of a page in one minute of event time over all partitions, so far; see `PageCount`."""

    page: str
    window_start: int
    window_end: int
    views: int


class PageViews(faust.Record):
    """Number of views of a page."""

    page: str
    views: int


class SalesTotal(msgspec.Struct, array_like=True):
    """Sales in one window.

    Attributes:
        purchases: number of purchases.
        refunds: number of refunds.
        micros: purchases less refunds, in millionths of the currency's unit: a whole number, so it is exact.
    """

    purchases: int = 0
    refunds: int = 0
    micros: int = 0


class SalesTotals:
    """Aggregates purchases and refunds to a `SalesTotal`."""

    type = SalesTotal

    def zero(self) -> SalesTotal:
        """Return the total of no sales."""
        return SalesTotal()

    def add(self, total: SalesTotal, event: ActivityEvent) -> SalesTotal:
        """Add one purchase or refund."""
        if event.action == "refund":
            total.refunds += 1
        else:
            total.purchases += 1
        total.micros += round((event.amount or 0) * 1_000_000)
        return total

    def merge(self, total: SalesTotal, more: SalesTotal) -> SalesTotal:
        """Add two totals."""
        total.purchases += more.purchases
        total.refunds += more.refunds
        total.micros += more.micros
        return total

    def result(self, total: SalesTotal) -> dict[str, Any]:
        """Return the total with the amount in the currency's unit."""
        return {"purchases": total.purchases, "refunds": total.refunds, "amount": total.micros / 1_000_000}


_enriched = twin(EnrichedActivity, of=ActivityEvent)
_PageCount = twin(PageCount)
_PageTotal = twin(PageTotal)
_PageViews = twin(PageViews)


def risk_level(amount: float | None) -> RiskLevel:
    """Return the risk level of an amount: above 1000 high, above 500 medium."""
    if amount is None or amount <= 500:
        return "low"
    return "high" if amount > 1000 else "medium"


def enriched(event: ActivityEvent) -> EnrichedActivity:
    """Return the event with its risk level and region."""
    return _enriched(event, risk_level=risk_level(event.amount), region=region(event.country))


def page_count(page: str, start: int, end: int, *, partition: int, views: int, version: int) -> PageCount:
    """Return the record of a window of page views."""
    return _PageCount(
        page=page, partition=partition, window_start=start, window_end=end, views=views, version=version
    )


def page_total(page: str, start: int, end: int, views: int) -> PageTotal:
    """Return the record of a window of page views over all partitions."""
    return _PageTotal(page=page, window_start=start, window_end=end, views=views)


def page_views(top: list[dict[str, Any]]) -> list[PageViews]:
    """Return the records of the most viewed pages; `top` has items and weights."""
    return [_PageViews(page=one["item"], views=one["weight"]) for one in top]
