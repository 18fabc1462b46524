"""What is known of a user: the Records, and how they are made."""

from typing import Any

import faust
import msgspec

from models.activity import ActivityEvent
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


def activity_session(user_id: str, start: float, end: float, totals: dict[str, Any]) -> ActivitySession:
    """Make the record of a session that is over; `totals` are its fields."""
    return _ActivitySession(user_id, start, end, **totals)
