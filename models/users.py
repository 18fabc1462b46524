"""User data: the Records, and the functions that create them."""

from typing import Any

import faust
import msgspec

from millstream.records import twin
from models.activity import Action, ActivityEvent, PageViews, page_views


class ActivitySession(faust.Record):
    """A user's session: the activity between two gaps, emitted once, when it has closed.

    Attributes:
        start: event time of the first event, seconds since the epoch.
        end: event time of the last event.
        events: number of events.
        views: number of page views.
        purchases: number of purchases.
        amount: purchases less refunds, in the currencies' units.
    """

    user_id: str
    start: float
    end: float
    events: int
    views: int
    purchases: int
    amount: float


class Conversion(faust.Record):
    """A purchase, and a click of its user in the half hour before it.

    There is a record for each click before a purchase, or one without a click if there was none.

    Attributes:
        purchase_id: the purchase's `event_id`.
        purchased: its event time, seconds since the epoch.
        amount: in the currency's units.
        click_id: the click's `event_id`.
        clicked: its event time, seconds since the epoch.
        page: the page of the click.
    """

    user_id: str
    purchase_id: str
    purchased: float
    amount: float | None = None
    click_id: str | None = None
    clicked: float | None = None
    page: str | None = None


class Latest(faust.Record):
    """One of a user's latest actions; `timestamp` in seconds since the epoch."""

    action: Action
    timestamp: float
    page: str | None = None


class Profile(faust.Record):
    """A user's activity so far, and the latest actions.

    Attributes:
        latest: the last ten actions, newest first.
        pages: the five most viewed pages.
        pages_error: how much too small their views may be; 0 for a user with at most a hundred pages.
        events: number of events.
        views: number of page views.
        purchases: number of purchases.
        amount: purchases less refunds, in the currencies' units.
    """

    user_id: str
    latest: list[Latest]
    pages: list[PageViews]
    pages_error: int
    events: int
    views: int
    purchases: int
    amount: float


class Click(msgspec.Struct, array_like=True):
    """The stored part of a click; see `Conversion`."""

    event_id: str
    clicked: float
    page: str | None


class Purchase(msgspec.Struct, array_like=True):
    """The stored part of a purchase; see `Conversion`."""

    event_id: str
    purchased: float
    amount: float | None


class SessionTotal(msgspec.Struct, array_like=True):
    """The aggregate of a session; see `ActivitySession`, `micros` as in `SalesTotal`."""

    events: int = 0
    views: int = 0
    purchases: int = 0
    micros: int = 0


class SessionTotals:
    """Aggregates events to a `SessionTotal`."""

    type = SessionTotal

    def zero(self) -> SessionTotal:
        """Return the total of no events."""
        return SessionTotal()

    def add(self, total: SessionTotal, event: ActivityEvent) -> SessionTotal:
        """Add one event."""
        total.events += 1
        total.views += event.action == "view"
        total.purchases += event.action == "purchase"
        if event.action in ("purchase", "refund"):
            total.micros += round((event.amount or 0) * 1_000_000)
        return total

    def merge(self, total: SessionTotal, more: SessionTotal) -> SessionTotal:
        """Add two totals."""
        total.events += more.events
        total.views += more.views
        total.purchases += more.purchases
        total.micros += more.micros
        return total

    def result(self, total: SessionTotal) -> dict[str, Any]:
        """Return the total with the amount in the currency's unit."""
        return {
            "events": total.events,
            "views": total.views,
            "purchases": total.purchases,
            "amount": total.micros / 1_000_000,
        }


_ActivitySession = twin(ActivitySession)
_Conversion = twin(Conversion)
_Latest = twin(Latest)
_Profile = twin(Profile)


def activity_session(user_id: str, start: float, end: float, totals: dict[str, Any]) -> ActivitySession:
    """Return the record of a closed session; `totals` are its fields."""
    return _ActivitySession(user_id=user_id, start=start, end=end, **totals)


def conversion(user_id: str, purchase: Purchase, click: Click | None = None) -> Conversion:
    """Return the record of a purchase, and of a click before it."""
    bought: dict[str, Any] = {
        "user_id": user_id,
        "purchase_id": purchase.event_id,
        "purchased": purchase.purchased,
        "amount": purchase.amount,
    }
    if click is None:
        return _Conversion(**bought)
    return _Conversion(**bought, click_id=click.event_id, clicked=click.clicked, page=click.page)


def latest(event: ActivityEvent) -> Latest:
    """Return the part of an event that a profile shows."""
    return _Latest(action=event.action, timestamp=event.timestamp, page=event.page)


def profile(user_id: str, result: dict[str, Any]) -> Profile:
    """Return the record of a user; `result` has its fields."""
    return _Profile(
        user_id=user_id,
        latest=result["latest"],
        pages=page_views(result["pages"]),
        pages_error=result["pages_error"],
        events=result["events"],
        views=result["views"],
        purchases=result["purchases"],
        amount=result["amount"],
    )
