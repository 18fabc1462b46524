"""What makes an event valid, in plain Python.

Written from the documentation, without Millstream's decoder: the peers in Python work with it, and the
checker expects by it.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

ACTIONS = frozenset(("view", "click", "search", "login", "logout", "rating", "purchase", "refund"))
MAX_EVENT_BYTES = 262_144
MAX_FUTURE_SECONDS = 24 * 3600
MINUTE = 60
# Time that an id is remembered for; the bench gives the peers what Millstream has by default.
DEDUP_SECONDS = float(os.environ.get("BENCH_DEDUP_SECONDS", "600"))

_currency = re.compile("[A-Z]{3}").fullmatch


def moment(value: object) -> datetime:
    """Read an event time: ISO-8601 text, or seconds since the epoch.

    Raises:
        TypeError: neither text nor number.
        ValueError: not ISO-8601, or before 1970.
    """
    if isinstance(value, str):
        time = datetime.fromisoformat(value)
        return time if time.tzinfo else time.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"no event time: {value!r}")
    if value < 0:
        raise ValueError(f"before 1970: {value!r}")
    return datetime.fromtimestamp(value, UTC)


def valid(fields: Mapping[str, Any]) -> bool:
    """Whether all is there and within its range; `timestamp` is what `moment` made of it."""
    get = fields.get
    amount, quantity = get("amount"), get("quantity")
    currency, attributes = get("currency"), get("attributes")
    return (
        _text(get("event_id"), 128)
        and _text(get("user_id"), 128)
        and get("action") in ACTIONS
        and isinstance(get("timestamp"), datetime)
        and (get("page") is None or _text(get("page"), 2048))
        and (amount is None or (type(amount) in (int, float) and -1e9 <= amount <= 1e9))
        and (quantity is None or (type(quantity) is int and -1_000_000_000 <= quantity <= 1_000_000_000))
        and (currency is None or (isinstance(currency, str) and _currency(currency) is not None))
        and (get("country") is None or _text(get("country"), 64))
        and (get("session_id") is None or _text(get("session_id"), 128))
        and (attributes is None or (isinstance(attributes, dict) and len(attributes) <= 64))
    )


def parse(value: bytes | None, now: float) -> dict[str, Any] | None:
    """Read an event, its time in seconds since the epoch; None is a value that is none.

    Args:
        value: JSON.
        now: time from which an event time may be ahead by `MAX_FUTURE_SECONDS`, seconds since the epoch.
    """
    if value is None or len(value) > MAX_EVENT_BYTES:
        return None
    try:
        fields: dict[str, Any] = orjson.loads(value)
        time = fields["timestamp"] = moment(fields["timestamp"])
    except (ValueError, TypeError, KeyError):
        return None
    seconds = time.timestamp()
    if seconds > now + MAX_FUTURE_SECONDS or not valid(fields):
        return None
    fields["timestamp"] = seconds
    return fields


def risk_level(amount: float | None) -> str:
    """Rate a sum of money."""
    if amount is None or amount <= 500:
        return "low"
    return "high" if amount > 1000 else "medium"


def window_start(seconds: float) -> int:
    """Return the first second of an event time's minute, seconds since the epoch."""
    return int(seconds) // MINUTE * MINUTE


def _text(value: object, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest
