"""What is known of a user: the Records, and how they are made."""

from typing import Any

import faust
import msgspec

from models.activity import Action, ActivityEvent, PageViews, page_views
from models.record import twin


class ActivitySession(faust.Record):
    """What a user did between two silences, told once, when it is over.

    Attributes:
        start: event time of the first event, seconds since the epoch.
        end: event time of the last one.
        events: number of events.
        views: number of pages seen.
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
    """A purchase, and a click of its user within the half hour before it.

    There is a record for each click before a purchase, and one without a click for a purchase without any.

    Attributes:
        purchase_id: the purchase's `event_id`.
        purchased: its event time, seconds since the epoch.
        amount: in the currency's units.
        click_id: the click's `event_id`.
        clicked: its event time, seconds since the epoch.
        page: where it was.
    """

    user_id: str
    purchase_id: str
    purchased: float
    amount: float | None = None
    click_id: str | None = None
    clicked: float | None = None
    page: str | None = None


class Latest(faust.Record):
    """One of the last things that a user did; `timestamp` in seconds since the epoch."""

    action: Action
    timestamp: float
    page: str | None = None


class Profile(faust.Record):
    """What a user did so far, and lately.

    Attributes:
        latest: the last ten things, the newest first.
        pages: the five pages seen most.
        pages_error: by how much their views may be too small; 0 for a user of at most a hundred pages.
        events: number of events.
        views: number of pages seen.
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
    """What is kept of a click; see `Conversion`."""

    event_id: str
    clicked: float
    page: str | None


class Purchase(msgspec.Struct, array_like=True):
    """What is kept of a purchase; see `Conversion`."""

    event_id: str
    purchased: float
    amount: float | None


class SessionTotal(msgspec.Struct, array_like=True):
    """What is counted of a session; see `ActivitySession`, `micros` as in `SalesTotal`."""

    events: int = 0
    views: int = 0
    purchases: int = 0
    micros: int = 0


class SessionTotals:
    """How events become a `SessionTotal`."""

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
    """Make the record of a session that is over; `totals` are its fields."""
    return _ActivitySession(user_id, start, end, **totals)


def conversion(user_id: str, purchase: Purchase, click: Click | None = None) -> Conversion:
    """Make the record of a purchase, and of a click before it."""
    bought = (user_id, purchase.event_id, purchase.purchased, purchase.amount)
    return _Conversion(*bought) if click is None else _Conversion(*bought, *msgspec.structs.astuple(click))


def latest(event: ActivityEvent) -> Latest:
    """Keep of an event what a profile shows."""
    return _Latest(event.action, event.timestamp, event.page)


def profile(user_id: str, result: dict[str, Any]) -> Profile:
    """Make the record of a user; `result` has its fields."""
    return _Profile(
        user_id,
        result["latest"],
        page_views(result["pages"]),
        result["pages_error"],
        result["events"],
        result["views"],
        result["purchases"],
        result["amount"],
    )
