"""What agents must find out, straight from the events: dictionaries in memory, none of our own code."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

Event = dict[str, Any]

GAP = 30 * 60
FORGOTTEN = 30 * 86400
LATEST = 10


def sessions(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the sessions of all users, by user and start."""
    of: dict[str, list[Event]] = defaultdict(list)
    for one in sorted(events, key=lambda one: one["timestamp"]):
        of[one["user_id"]].append(one)
    found = []
    for user, stretch in of.items():
        silences = itertools.pairwise(one["timestamp"] for one in stretch)
        cuts = [i for i, (before, after) in enumerate(silences, 1) if after - before >= GAP]
        for first, last in itertools.pairwise([0, *cuts, len(stretch)]):
            part = stretch[first:last]
            found.append(
                {
                    "user_id": user,
                    "start": part[0]["timestamp"],
                    "end": part[-1]["timestamp"],
                    "events": len(part),
                    "views": sum(one["action"] == "view" for one in part),
                    "purchases": sum(one["action"] == "purchase" for one in part),
                    "amount": _money(part),
                }
            )
    return sorted(found, key=lambda one: (one["user_id"], one["start"]))


def profiles(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the last record of `activity.profiles` of each user, of events in the order of their times."""
    of: dict[str, list[Event]] = defaultdict(list)
    for one in events:
        known = of[one["user_id"]]
        if known and one["timestamp"] - max(old["timestamp"] for old in known) >= FORGOTTEN:
            known.clear()
        known.append(one)
    found = []
    for user, stretch in of.items():
        latest = sorted(stretch, key=lambda one: one["timestamp"])[: -LATEST - 1 : -1]
        pages = Counter(one["page"] for one in stretch if one["action"] == "view" and one.get("page"))
        found.append(
            {
                "user_id": user,
                "latest": [
                    {name: one.get(name) for name in ("action", "timestamp", "page")} for one in latest
                ],
                "pages": _top(pages, 5),
                "pages_error": 0,
                "events": len(stretch),
                "views": sum(one["action"] == "view" for one in stretch),
                "purchases": sum(one["action"] == "purchase" for one in stretch),
                "amount": _money(stretch),
            }
        )
    return found


def conversions(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the records of `activity.conversions`: purchases with each click in the half hour before."""
    clicks: dict[str, list[Event]] = defaultdict(list)
    everything = list(events)
    for one in everything:
        if one["action"] == "click":
            clicks[one["user_id"]].append(one)
    found = []
    for one in everything:
        if one["action"] != "purchase":
            continue
        sold = {
            "user_id": one["user_id"],
            "purchase_id": one["event_id"],
            "purchased": one["timestamp"],
            "amount": one.get("amount"),
        }
        before = [
            {"click_id": click["event_id"], "clicked": click["timestamp"], "page": click.get("page")}
            for click in clicks[one["user_id"]]
            if 0 <= round((one["timestamp"] - click["timestamp"]) * 1_000_000) <= 1_800_000_000
        ]
        found += [sold | click for click in before or [{"click_id": None, "clicked": None, "page": None}]]
    return found


def users_per_minute(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the final records of `activity.users-per-minute`, by minute."""
    users: dict[int, set[str]] = defaultdict(set)
    for one in events:
        users[_start(one, 60)].add(one["user_id"])
    return [
        {"window_start": start, "window_end": start + 60, "users": len(found), "final": True}
        for start, found in sorted(users.items())
    ]


def sales_per_day(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the final records of `activity.sales-per-day`, by country and day."""
    days: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for one in events:
        if one["action"] in ("purchase", "refund"):
            days[one.get("country") or "unknown", _start(one, 86400)].append(one)
    return [
        {
            "country": country,
            "window_start": start,
            "window_end": start + 86400,
            "purchases": sum(one["action"] == "purchase" for one in part),
            "refunds": sum(one["action"] == "refund" for one in part),
            "amount": _money(part),
            "final": True,
        }
        for (country, start), part in sorted(days.items())
    ]


def top_pages(events: Iterable[Event], count: int = 10) -> list[dict[str, Any]]:
    """Return the records of `activity.top-pages`, by window."""
    views: dict[int, Counter[str]] = defaultdict(Counter)
    for one in events:
        if one["action"] == "view" and one.get("page") is not None:
            views[_start(one, 300)][one["page"]] += 1
    return [
        {
            "window_start": start,
            "window_end": start + 300,
            "pages": _top(pages, count),
            "error": 0,
        }
        for start, pages in sorted(views.items())
    ]


# What is sent once, by its topic.
FINAL: dict[str, Callable[[Iterable[Event]], list[dict[str, Any]]]] = {
    "activity.sessions": sessions,
    "activity.conversions": conversions,
    "activity.users-per-minute": users_per_minute,
    "activity.sales-per-day": sales_per_day,
    "activity.top-pages": top_pages,
}


def without_uncounted_pages(
    records: Iterable[dict[str, Any]], told: Iterable[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Leave out the pages of users who have seen more than are counted, according to `told`."""
    many = {one["user_id"] for one in told if one.get("pages_error")}
    return [
        {name: value for name, value in one.items() if not name.startswith("pages")}
        if one.get("user_id") in many
        else one
        for one in records
    ]


def _top(pages: Counter[str], count: int) -> list[dict[str, Any]]:
    ordered = sorted(pages.items(), key=lambda item: (-item[1], item[0]))
    return [{"page": page, "views": seen} for page, seen in ordered[:count]]


def _start(event: Event, size: int) -> int:
    return int(event["timestamp"] // size) * size


def _money(events: Iterable[Event]) -> float:
    money = [one.get("amount") or 0 for one in events if one["action"] in ("purchase", "refund")]
    return sum(round(one * 1_000_000) for one in money) / 1_000_000
