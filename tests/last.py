"""Users whose events come last: they move every watermark on, and so close what is open."""

from typing import Any

# Enough of them to have one in each partition.
USERS = 60


def last_events(at: float) -> list[dict[str, Any]]:
    """Return an event of each, at a time after those of all others."""
    names = [f"last-{number}" for number in range(USERS)]
    return [{"event_id": name, "user_id": name, "action": "login", "timestamp": at} for name in names]


def is_last(user: str) -> bool:
    return user.startswith("last-")
