"""Lines of a web server's access log (Apache's "combined" format), as views."""

import re
from datetime import datetime, timedelta, timezone
from hashlib import blake2b

import orjson

from millstream.sources.rows import Unmapped

_QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_LINE = re.compile(
    rf"(\S+) \S+ (.+?) \[([^\]]+)\] {_QUOTED} (\d{{3}}) (\d+|-) {_QUOTED} {_QUOTED}\s*", re.ASCII
)
_TIME = re.compile(r"(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII)
# strptime's month names depend on the locale; the log's do not.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def value(line: str) -> bytes:
    """Map a line to an event's JSON.

    The user is the login name, else the address. The id is a hash of the whole line.

    Raises:
        Unmapped: the line has another format.
    """
    match = _LINE.fullmatch(line)
    if not match:
        raise Unmapped("not a line of Apache's combined log")
    host, user, time, request, status, size, referrer, agent = match.groups()
    words = request.split()
    if len(words) not in {2, 3}:
        raise Unmapped(f"the request names no page: {request[:40]!r}")
    page, _, query = words[1].partition("?")
    details = {
        "method": words[0],
        "status": int(status),
        "bytes": None if size == "-" else int(size),
        "query": query or None,
        "referrer": None if referrer == "-" else referrer,
        "user_agent": None if agent == "-" else agent,
        "address": None if user == "-" else host,
    }
    return orjson.dumps(
        {
            "event_id": f"access-{blake2b(line.encode(), digest_size=16).hexdigest()}",
            "user_id": host if user == "-" else user,
            "action": "view",
            "timestamp": _timestamp(time),
            "page": page,
            "attributes": {name: detail for name, detail in details.items() if detail is not None},
        }
    )


def _timestamp(text: str) -> str:
    match = _TIME.fullmatch(text)
    try:
        if not match:
            raise ValueError
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=zone
        )
    except ValueError:
        raise Unmapped(f"not a time of Apache's log: {text[:40]!r}") from None
    return moment.isoformat()
