"""All topics, in the order in which an event flows through them."""

from datetime import timedelta

from app import app
from models.activity import ActivityEvent, EnrichedActivity, PageCount, PageTotal
from models.totals import Partial, SalesPerDay, TopPages, UsersPerMinute
from models.users import ActivitySession, Conversion, Profile

activity_raw = app.source_topic(
    "activity.raw", ActivityEvent, key="user_id", dead_letters="activity.dead-letters"
)
activity_enriched = app.source_topic(
    "activity.enriched",
    EnrichedActivity,
    key="user_id",
    dead_letters="activity.enriched.dead-letters",
    late="activity.late",
    idle=timedelta(minutes=1),
    copartitioned=True,
    limits=False,
)
activity_profiles = app.output_topic("activity.profiles", Profile, copartitioned=True)
activity_sessions = app.output_topic("activity.sessions", ActivitySession, copartitioned=True)
activity_conversions = app.output_topic("activity.conversions", Conversion, copartitioned=True)
activity_partials = app.source_topic(
    "activity.partials",
    Partial,
    key="key",
    dead_letters="activity.partials.dead-letters",
    event_time="window_start",
    late="activity.partials.late",
    behind=activity_enriched,
    limits=False,
)
activity_users_per_minute = app.output_topic("activity.users-per-minute", UsersPerMinute, copartitioned=True)
activity_sales_per_day = app.output_topic("activity.sales-per-day", SalesPerDay, copartitioned=True)
activity_top_pages = app.output_topic("activity.top-pages", TopPages, copartitioned=True)
activity_page_counts = app.source_topic(
    "activity.page-counts",
    PageCount,
    key="page",
    dead_letters="activity.page-counts.dead-letters",
    event_time="window_start",
    limits=False,
)
activity_page_totals = app.output_topic("activity.page-totals", PageTotal, copartitioned=True)
