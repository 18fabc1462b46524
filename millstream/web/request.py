"""Parsing of requests: their query strings, validated."""

from collections.abc import Mapping
from dataclasses import dataclass

from millstream.tables.queries import ByKey, Keys, Query, Top
from millstream.tables.table import Range
from millstream.web.parameters import duration, given, known, moment, path_text, text, truth, whole

MAX_ROWS = 10_000

LOCAL = truth("local", "Only the partitions that the worker that receives the request owns.")
MAX_STALENESS = duration(
    "max_staleness",
    "Seconds that a standby's copy may be behind, if the owner does not answer; no copies by default.",
)
EVERYWHERE = (LOCAL, MAX_STALENESS)

KEY = path_text("key", "The key, percent-encoded.")
FROM = moment("from", "The earliest event time of the rows.")
TO = moment("to", "The event time before which the rows end.")
ROWS = whole("limit", "Maximum number of rows.", most=MAX_ROWS, default=Range.limit)
OF_KEY = (FROM, TO, ROWS, *EVERYWHERE)

PREFIX = text("prefix", "Prefix of the keys.")
AFTER = text("after", "The last key of the previous page, its `next`.")
KEYS = whole("limit", "Maximum number of keys.", most=MAX_ROWS, default=Keys.limit)
OF_KEYS = (PREFIX, AFTER, KEYS, *EVERYWHERE)

TOP = whole("top", "Return this many keys with the largest figure, instead of a list of keys.", most=MAX_ROWS)
BY = text("by", "With `top`: name of the figure; may be omitted if there is only one.")
AT = moment("at", "With `top`: an event time within the window; the default is the newest window.")
OF_TOP = (TOP, BY, AT, *EVERYWHERE)


@dataclass(frozen=True)
class ParsedRequest:
    """A parsed request.

    Attributes:
        query: the query; None for facts about the tables.
        local: whether only the partitions that this worker owns are read.
        max_staleness: how many seconds a standby's copy may be behind, if an owner does not answer; None for
            no copies.
    """

    query: Query | None
    local: bool = False
    max_staleness: float | None = None


def about_key(key: str, query: Mapping[str, str]) -> ParsedRequest:
    """Parse a query for a key.

    Raises:
        ProblemError: a parameter is unknown or invalid.
    """
    known(query, OF_KEY)
    return _parsed(ByKey(key, Range(**given(query, start=FROM, end=TO, limit=ROWS))), query)


def about_table(query: Mapping[str, str]) -> ParsedRequest:
    """Parse a query for the keys of a table.

    Raises:
        ProblemError: a parameter is unknown or invalid.
    """
    if TOP.name in query:
        known(query, OF_TOP)
        return _parsed(Top(**given(query, limit=TOP, by=BY, at=AT)), query)
    known(query, OF_KEYS)
    return _parsed(Keys(**given(query, prefix=PREFIX, after=AFTER, limit=KEYS)), query)


def about_tables(query: Mapping[str, str]) -> ParsedRequest:
    """Parse a query for all tables.

    Raises:
        ProblemError: a parameter is unknown or invalid.
    """
    known(query, EVERYWHERE)
    return _parsed(None, query)


def _parsed(query: Query | None, given_query: Mapping[str, str]) -> ParsedRequest:
    return ParsedRequest(query, **given(given_query, local=LOCAL, max_staleness=MAX_STALENESS))
