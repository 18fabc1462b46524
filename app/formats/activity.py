"""Rows whose columns are the Record's own fields."""

from typing import Any

import orjson

from millstream.sources.numbers import number, plain, whole
from millstream.sources.rows import Row, Unmapped
from models.activity import ActivityEvent

FIELDS = tuple(ActivityEvent._options.fields)
COLUMNS = tuple(name for name in FIELDS if name not in ActivityEvent._options.optionalset)


def value(row: Row) -> bytes:
    """Map a row of a CSV file to an event's JSON; an empty cell is an absent field.

    Columns that are not fields go to `attributes`; a column with that name holds a JSON object. A timestamp
    is ISO-8601 text or a number of seconds or milliseconds.

    Raises:
        Unmapped: a cell is invalid.
    """
    event: dict[str, Any] = {name: row[name] for name in FIELDS if row.get(name)}
    if "amount" in event:
        event["amount"] = orjson.Fragment(plain(number("amount", event["amount"])))
    if "quantity" in event:
        event["quantity"] = whole("quantity", event["quantity"])
    if event.get("timestamp", "").replace(".", "", 1).isdecimal():
        event["timestamp"] = orjson.Fragment(plain(number("timestamp", event["timestamp"])))
    more = {name: text for name, text in row.items() if name not in FIELDS and text}
    if "attributes" in event or more:
        event["attributes"] = _attributes(event.get("attributes", "{}")) | more
    return orjson.dumps(event)


def _attributes(text: str) -> dict[str, Any]:
    try:
        attributes = orjson.loads(text)
    except orjson.JSONDecodeError:
        attributes = None
    if not isinstance(attributes, dict):
        raise Unmapped(f"attributes is not a JSON object: {text[:40]!r}")
    return attributes
