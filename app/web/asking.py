"""What a request asks for: its query string, checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.web.parameters import duration, given, known, moment, path_text, text, truth, whole
from tables.questions import ByKey, Keys, Question, Top
from tables.table import Range

MAX_ROWS = 10_000

LOCAL = truth("local", "Only the partitions that the asked worker owns.")
MAX_STALENESS = duration(
    "max_staleness",
    "Seconds that a standby's copy may be behind, where the owner does not answer; no copies, if not given.",
)
EVERYWHERE = (LOCAL, MAX_STALENESS)

KEY = path_text("key", "The key, percent-encoded.")
FROM = moment("from", "The first event time of the rows.")
TO = moment("to", "The event time before which the rows end.")
ROWS = whole("limit", "At most so many rows.", most=MAX_ROWS, default=Range.limit)
OF_KEY = (FROM, TO, ROWS, *EVERYWHERE)

PREFIX = text("prefix", "What the keys begin with.")
AFTER = text("after", "The key to go on after: `next` of the page before.")
KEYS = whole("limit", "At most so many keys.", most=MAX_ROWS, default=Keys.limit)
OF_KEYS = (PREFIX, AFTER, KEYS, *EVERYWHERE)

TOP = whole(
    "top", "So many keys, those with the largest figure; in the place of a list of keys.", most=MAX_ROWS
)
BY = text("by", "With `top`: the figure; may be left out where there is only one.")
AT = moment("at", "With `top`: event time that the window holds; the newest window, if not given.")
OF_TOP = (TOP, BY, AT, *EVERYWHERE)


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
    known(query, OF_KEY)
    return _asked(ByKey(key, Range(**given(query, start=FROM, end=TO, limit=ROWS))), query)


def about_table(query: Mapping[str, str]) -> Asked:
    """Read a question about the keys of a table.

    Raises:
        ProblemError: a parameter is unknown, or cannot be read.
    """
    if TOP.name in query:
        known(query, OF_TOP)
        return _asked(Top(**given(query, limit=TOP, by=BY, at=AT)), query)
    known(query, OF_KEYS)
    return _asked(Keys(**given(query, prefix=PREFIX, after=AFTER, limit=KEYS)), query)


def about_tables(query: Mapping[str, str]) -> Asked:
    """Read a question about all tables.

    Raises:
        ProblemError: a parameter is unknown, or cannot be read.
    """
    known(query, EVERYWHERE)
    return _asked(None, query)


def _asked(question: Question | None, query: Mapping[str, str]) -> Asked:
    return Asked(question, **given(query, local=LOCAL, max_staleness=MAX_STALENESS))
