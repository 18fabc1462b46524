"""What a request asks for: its query string, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from app.web.problems import ProblemError
from models.record import event_time
from tables.questions import ByKey, Keys, Question, Top
from tables.table import Range, iso

MAX_ROWS = 10_000

EVERYWHERE = ("local", "max_staleness")


@dataclass(frozen=True)
class Asked:
    """What a request asks for.

    Attributes:
        question: what; None for what there is to say of the tables.
        local: whether only of the partitions that the asked worker owns.
        max_staleness: seconds that a standby's copy may be behind, where an owner does not answer; None for
            no copies.
    """

    question: Question | None
    local: bool = False
    max_staleness: float | None = None


def about_key(key: str, query: Mapping[str, str]) -> Asked:
    """Read a question about a key.

    Raises:
        ProblemError: a parameter is unknown, or cannot be read.
    """
    _known(query, "from", "to", "limit")
    given = _given(query, start=("from", _time), end=("to", _time), limit=("limit", _count))
    return _asked(ByKey(key, Range(**given)), query)


def about_table(query: Mapping[str, str]) -> Asked:
    """Read a question about the keys of a table.

    Raises:
        ProblemError: a parameter is unknown, or cannot be read.
    """
    if "top" in query:
        _known(query, "top", "by", "at")
        return _asked(Top(**_given(query, limit=("top", _count), by=("by", _text), at=("at", _time))), query)
    _known(query, "prefix", "after", "limit")
    given = _given(query, prefix=("prefix", _text), after=("after", _text), limit=("limit", _count))
    return _asked(Keys(**given), query)


def about_tables(query: Mapping[str, str]) -> Asked:
    """Read a question about all tables.

    Raises:
        ProblemError: a parameter is unknown, or cannot be read.
    """
    _known(query)
    return _asked(None, query)


def _asked(question: Question | None, query: Mapping[str, str]) -> Asked:
    options = _given(query, local=("local", _truth), max_staleness=("max_staleness", _seconds))
    return Asked(question, **options)


def _known(query: Mapping[str, str], *names: str) -> None:
    known = (*names, *EVERYWHERE)
    for name in query:
        if name not in known:
            raise ProblemError(400, f"There is no parameter {name!r} here; there are {', '.join(known)}.")


def _given(query: Mapping[str, str], **fields: tuple[str, Callable[[str, str], Any]]) -> dict[str, Any]:
    return {field: read(name, query[name]) for field, (name, read) in fields.items() if name in query}


def _text(name: str, text: str) -> str:  # noqa: ARG001 (it cannot be wrong)
    return text


def _time(name: str, text: str) -> float:
    try:
        seconds = event_time(float(text) if text.replace(".", "", 1).isdigit() else text)
        iso(seconds)  # refuses what is beyond the calendar
    except (ValueError, OverflowError):
        raise ProblemError(
            400, f"{name}={text} is no time: write ISO-8601 (2026-01-31T12:00Z) or epoch seconds."
        ) from None
    return float(seconds)


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MAX_ROWS:
        raise ProblemError(400, f"{name}={text} is not a number from 1 to {MAX_ROWS}.")
    return int(text)


def _truth(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise ProblemError(400, f"{name}={text} is neither true nor false.")
    return text == "true"


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not isfinite(seconds) or seconds < 0:
        raise ProblemError(400, f"{name}={text} is not a number of seconds.")
    return seconds
