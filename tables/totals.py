"""Totals over all partitions: users per minute, sales by country and day, the most viewed pages."""

from datetime import timedelta

from app import app, topics
from app.settings import settings
from millstream.tables.aggregates import Sum
from millstream.tables.sketches import TopN
from millstream.tables.totals import TotalTable
from models.activity import SalesTotals

GRACE = settings.grace  # same as the partials' tables
DAY = timedelta(days=1)

users_per_minute = TotalTable(
    "users-per-minute", size=timedelta(minutes=1), value=Sum("users"), grace=GRACE, keep=DAY
)
sales_per_day = TotalTable("sales-per-day", size=DAY, value=SalesTotals(), grace=GRACE, keep=400 * DAY)
top_pages = TotalTable("top-pages", size=timedelta(minutes=5), value=TopN("pages"), grace=GRACE, keep=DAY)
app.add_tables(topics.activity_partials, users_per_minute, sales_per_day, top_pages, keyed=True)
