"""The whole service in one place: app, topics, agents and web views."""

from importlib import import_module

from app.service import app
from app.settings import settings
from app.web import follow, health, letters, metrics, overview, views

for _name in settings().agents.split(","):
    import_module(f"agents.{_name}")

__all__ = ["app", "follow", "health", "letters", "metrics", "overview", "views"]
