"""Invalid events: one or more ways to break an event for each dead-letter code."""

from collections.abc import Callable
from typing import Any

import orjson

# Larger than the default of MILLSTREAM_MAX_EVENT_BYTES, smaller than Kafka's own limit for a batch.
LARGE = 300_000
# Large values are rarer than the other kinds, so that a million events stay small.
LARGE_SHARE = 0.01

Event = dict[str, Any]
Break = Callable[[Event], bytes | None]


def _with(**fields: object) -> Break:
    return lambda event: orjson.dumps(event | fields)


def _without(field: str) -> Break:
    return lambda event: orjson.dumps({name: value for name, value in event.items() if name != field})


WAYS: dict[str, tuple[Break, ...]] = {
    "tombstone": (lambda _: None,),
    "too-large": (_with(attributes={"note": "x" * LARGE}),),
    "not-json": (
        lambda event: orjson.dumps(event)[:-20],
        lambda event: orjson.dumps(event).replace(b'"view"', b'"vi\xe9w"'),
        lambda _: b"<html><body>502 Bad Gateway</body></html>",
        lambda _: b"",
    ),
    "missing-field": tuple(map(_without, ("user_id", "action"))),
    "wrong-type": (
        _with(amount="12.50"),
        _with(user_id=1.7),
        _with(quantity=1.5),
        _with(timestamp=[2026]),
        _with(attributes=["a", "b"]),
        lambda event: orjson.dumps([event]),
    ),
    "out-of-range": (
        _with(action="fly"),
        _with(user_id=""),
        _with(amount=1e12),
        _with(quantity=-2_000_000_000),
        _with(currency="usd"),
        _with(page="/" * 3000),
    ),
    "impossible-time": (
        _with(timestamp="2026-02-30T12:00:00Z"),
        _with(timestamp="yesterday"),
        _with(timestamp=-1),
        _with(timestamp="9999-12-31T23:59:59Z"),
    ),
}
"""How to break an event, by the code of the resulting dead letter."""

_COMMON = tuple(code for code in WAYS if code != "too-large")


def broken(event: Event, random: Callable[[], float]) -> bytes | None:
    """Break an event in one of the ways.

    Args:
        event: a valid view.
        random: returns numbers from 0 to below 1.
    """
    code = "too-large" if random() < LARGE_SHARE else _COMMON[int(random() * len(_COMMON))]
    ways = WAYS[code]
    return ways[int(random() * len(ways))](event)
