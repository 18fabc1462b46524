"""The whole service in one place: app, topics, agents and web views."""

from agents import activity, page_totals
from app.service import app
from app.web import views

__all__ = ["activity", "app", "page_totals", "views"]
