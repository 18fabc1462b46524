"""What users do: profiles, sessions, conversions, and what each partition adds to the totals."""

from datetime import timedelta
from functools import partial
from typing import Any

from app import topics
from app.engine.batch import Batches, Out
from app.panels import Rows, show
from app.service import app, keep
from app.settings import settings
from models import totals
from models.activity import EnrichedActivity, SalesTotals
from models.users import Click, Purchase, SessionTotals, activity_session, conversion, latest, profile
from tables.aggregates import LastN, Several
from tables.joins import JoinTable, One, Pair
from tables.once import OnceTable
from tables.sessions import Session, SessionTable
from tables.sketches import Distinct, TopN
from tables.values import ValueTable
from tables.windows import Window, WindowTable

GRACE = settings().grace
DAY = timedelta(days=1)

user_sessions = SessionTable(
    "sessions", gap=timedelta(minutes=30), value=SessionTotals(), grace=GRACE, keep=7 * DAY
)
profiles = ValueTable(
    "profiles",
    value=Several(
        LastN("latest", 10, of=latest, at=lambda event: event.timestamp),
        TopN("pages", 5, of=lambda event: event.page if event.action == "view" else None, capacity=100),
        SessionTotals(),
    ),
    keep=30 * DAY,
)
clicks_and_purchases = JoinTable(
    "clicks-and-purchases",
    left=Click,
    right=Purchase,
    before=timedelta(0),
    after=timedelta(minutes=30),
    grace=GRACE,
)
users_of_minutes = WindowTable(
    "users-of-minutes",
    size=timedelta(minutes=1),
    value=Distinct("users", of=lambda event: event.user_id),
    grace=GRACE,
    keep=DAY,
)
sales_of_days = WindowTable("sales-of-days", size=DAY, value=SalesTotals(), grace=GRACE, keep=400 * DAY)
views_of_pages = WindowTable(
    "views-of-pages",
    size=timedelta(minutes=5),
    value=TopN("pages", of=lambda event: event.page),
    grace=GRACE,
    keep=DAY,
)
# After a crash some events come again.
taken = OnceTable("users-taken")
keep(topics.activity_enriched, profiles, user_sessions, clicks_and_purchases, keyed=True)
keep(topics.activity_enriched, taken, users_of_minutes, sales_of_days, views_of_pages)
show(Rows("Sessions, the newest of each user", user_sessions, columns=("start", "open", "events", "amount")))


@app.agent(topics.activity_enriched)
async def users(batches: Batches[EnrichedActivity]) -> None:
    """Put each event into its user's session, and into what is counted over all users."""
    async for batch in batches:
        async with batch.commit() as out:
            known = profiles.open(out, changed=partial(send_profile, out))
            sessions = user_sessions.open(out, closed=partial(send_session, out))
            conversions = clicks_and_purchases.open(
                out, joined=partial(send_pair, out), alone_right=partial(send_purchase, out)
            )
            active = users_of_minutes.open(out, changed=partial(send_users, out))
            sales = sales_of_days.open(out, changed=partial(send_sales, out))
            views = views_of_pages.open(out, closed=partial(send_pages, out))
            for event in taken.open(out).first(batch):
                known.add(event.user_id, event, at=event.timestamp)
                sessions.add(event.user_id, event, at=event.timestamp)
                active.add(totals.ALL, event, at=event.timestamp)
                if event.action == "view":
                    views.add(totals.ALL, event, at=event.timestamp)
                elif event.action == "click":
                    click = Click(event.event_id, event.timestamp, event.page)
                    conversions.add_left(event.user_id, click, at=event.timestamp)
                elif event.action == "purchase":
                    purchase = Purchase(event.event_id, event.timestamp, event.amount)
                    conversions.add_right(event.user_id, purchase, at=event.timestamp)
                if event.action in ("purchase", "refund"):
                    sales.add(event.country or "unknown", event, at=event.timestamp)


def send_profile(out: Out, user_id: str, result: dict[str, Any]) -> None:
    """Tell the readers of `activity.profiles` what is known of a user."""
    out.update(topics.activity_profiles, key=user_id, value=profile(user_id, result), of=user_id)


def send_session(out: Out, session: Session) -> None:
    """Tell the readers of `activity.sessions` what a session was."""
    record = activity_session(session.key, session.start, session.end, session.result)
    out.send(topics.activity_sessions, key=session.key, value=record)


def send_pair(out: Out, pair: Pair[Click, Purchase]) -> None:
    """Tell the readers of `activity.conversions` of a purchase and a click before it."""
    record = conversion(pair.key, pair.right, pair.left)
    out.send(topics.activity_conversions, key=pair.key, value=record)


def send_purchase(out: Out, one: One[Purchase]) -> None:
    """Tell them of a purchase without a click before it."""
    record = conversion(one.key, one.value)
    out.send(topics.activity_conversions, key=one.key, value=record)


def send_users(out: Out, window: Window) -> None:
    """Tell the totals how many users a minute has here."""
    _send_partial(out, "users-per-minute", window, users=window.result["users"])


def send_sales(out: Out, window: Window) -> None:
    """Tell the totals what a country's day has sold here."""
    _send_partial(out, "sales-per-day", window, sales=window.total)


def send_pages(out: Out, window: Window) -> None:
    """Tell the totals what pages were seen here in five minutes."""
    _send_partial(out, "top-pages", window, pages=window.total)


def _send_partial(out: Out, table: totals.Total, window: Window, **value: Any) -> None:
    record = totals.partial(
        table, window.key, window.start, partition=out.partition, version=out.version, **value
    )
    out.update(topics.activity_partials, key=window.key, value=record, of=(table, window.key, window.start))
