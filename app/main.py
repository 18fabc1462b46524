"""The whole service in one place: app, topics, agents and web views."""

import agents.activity
import app.web.views  # noqa: F401 (imported for its views)
from app.service import app

__all__ = ["agents", "app"]
