"""Views of each page over all partitions of `activity.raw`."""

from datetime import timedelta

from app import app, topics
from millstream.tables.aggregates import Count
from millstream.tables.totals import TotalTable

MINUTE = timedelta(minutes=1)

page_totals = TotalTable("page-totals", size=MINUTE, value=Count("views"))
app.add_tables(topics.activity_page_counts, page_totals, keyed=True)
