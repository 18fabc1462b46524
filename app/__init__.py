"""The example service: user activity and purchases. Its App, topics, file formats and generator."""

import millstream

# MILLSTREAM_AGENTS adds `users` and `totals`.
app = millstream.App("millstream", agents=("activity", "page_totals"))

from app import business_metrics, formats, generator, topics  # noqa: E402 (they need the App)

__all__ = ["app", "business_metrics", "formats", "generator", "topics"]
