"""User behaviour: profiles, sessions, conversions, and each partition's partials of the totals."""

from functools import partial
from typing import Any

from app import app, topics
from millstream import Batches, Commit
from millstream.tables.joins import One, Pair
from millstream.tables.sessions import Session
from millstream.tables.windows import Window
from millstream.web.panels import Rows
from models import totals
from models.activity import EnrichedActivity
from models.users import Click, Purchase, activity_session, conversion, profile
from tables import users as tables

app.add_panels(
    Rows("Sessions, the newest of each user", tables.sessions, columns=("start", "open", "events", "amount"))
)


@app.agent(topics.activity_enriched)
async def users(batches: Batches[EnrichedActivity]) -> None:
    """Add each event to its user's session and profile, and to the partials over all users."""
    async for batch in batches:
        async with batch.commit() as commit:
            known = tables.profiles.open(commit, changed=partial(send_profile, commit))
            sessions = tables.sessions.open(commit, closed=partial(send_session, commit))
            conversions = tables.clicks_and_purchases.open(
                commit, joined=partial(send_pair, commit), alone_right=partial(send_purchase, commit)
            )
            active = tables.users_of_minutes.open(commit, changed=partial(send_users, commit))
            sales = tables.sales_of_days.open(commit, changed=partial(send_sales, commit))
            views = tables.views_of_pages.open(commit, closed=partial(send_pages, commit))
            for event in tables.users_taken.open(commit).first(batch):
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


def send_profile(commit: Commit, user_id: str, result: dict[str, Any]) -> None:
    """Update a user's profile in `activity.profiles`."""
    commit.update(topics.activity_profiles, key=user_id, value=profile(user_id, result), of=user_id)


def send_session(commit: Commit, session: Session) -> None:
    """Send a closed session to `activity.sessions`."""
    record = activity_session(session.key, session.start, session.end, session.result)
    commit.send(topics.activity_sessions, key=session.key, value=record)


def send_pair(commit: Commit, pair: Pair[Click, Purchase]) -> None:
    """Send a purchase and an earlier click to `activity.conversions`."""
    record = conversion(pair.key, pair.right, pair.left)
    commit.send(topics.activity_conversions, key=pair.key, value=record)


def send_purchase(commit: Commit, one: One[Purchase]) -> None:
    """Send a purchase without an earlier click to `activity.conversions`."""
    record = conversion(one.key, one.value)
    commit.send(topics.activity_conversions, key=one.key, value=record)


def send_users(commit: Commit, window: Window) -> None:
    """Send the number of this partition's users in a minute to the totals."""
    _send_partial(commit, "users-per-minute", window, users=window.result["users"])


def send_sales(commit: Commit, window: Window) -> None:
    """Send this partition's sales of a country's day to the totals."""
    _send_partial(commit, "sales-per-day", window, sales=window.total)


def send_pages(commit: Commit, window: Window) -> None:
    """Send this partition's page views of five minutes to the totals."""
    _send_partial(commit, "top-pages", window, pages=window.total)


def _send_partial(commit: Commit, table: totals.Total, window: Window, **value: Any) -> None:
    record = totals.partial(
        table, window.key, window.start, partition=commit.partition, version=commit.version, **value
    )
    commit.update(
        topics.activity_partials, key=window.key, value=record, of=(table, window.key, window.start)
    )
