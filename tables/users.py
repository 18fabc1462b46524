"""The tables of user data, and each partition's partials of the totals over all users."""

from datetime import timedelta

from app import app, topics
from app.settings import settings
from millstream.tables.aggregates import LastN, Several
from millstream.tables.joins import JoinTable
from millstream.tables.origin_dedup import OriginDedupTable
from millstream.tables.sessions import SessionTable
from millstream.tables.sketches import Distinct, TopN
from millstream.tables.values import ValueTable
from millstream.tables.windows import WindowTable
from models.activity import SalesTotals
from models.users import Click, Purchase, SessionTotals, latest

GRACE = settings.grace
DAY = timedelta(days=1)

sessions = SessionTable(
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
# After a crash some events are sent again.
users_taken = OriginDedupTable("users-taken")
app.add_tables(topics.activity_enriched, profiles, sessions, clicks_and_purchases, keyed=True)
app.add_tables(topics.activity_enriched, users_taken, users_of_minutes, sales_of_days, views_of_pages)
