"""The tables of user activity, by the partitions of `activity.raw`."""

from datetime import timedelta

from app import app, topics
from app.settings import settings
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.windows import WindowTable
from models.activity import SalesTotals

MINUTE = timedelta(minutes=1)

seen = DedupTable("seen", ttl=settings.dedup_ttl)
page_views = WindowTable("page-views", size=MINUTE, value=Count("views"))
sales = WindowTable("sales", size=MINUTE, value=SalesTotals())
app.add_tables(topics.activity_raw, seen, page_views, sales)
