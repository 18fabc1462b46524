"""Queries of tables. Each query is answered from the rows of all partitions at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from millstream.state.readers import Committed
from millstream.tables.table import CannotAnswerError, Queryable, Range


@runtime_checkable
class Listed(Protocol):
    """A table whose keys can be listed."""

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix` and come after `after`, in order."""
        ...

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return the newest value of a key, as JSON; None if there is none."""
        ...


@runtime_checkable
class Ranked(Protocol):
    """A table whose keys can be ranked by a figure."""

    def top(
        self, readers: Sequence[Committed], by: str | None, at: float | None, limit: int
    ) -> dict[str, Any]:
        """Return the keys with the largest figure, as JSON.

        Args:
            readers: the partitions.
            by: name of the figure; None for the only one.
            at: an event time within the window, seconds since the epoch; None for the newest window.
            limit: number of keys.

        Raises:
            CannotAnswerError: there is no such figure, or there are too many keys.
        """
        ...


class Query(Protocol):
    """A query of a table.

    It reads the same rows of a partition whichever other partitions are queried with it, and needs no other
    rows. So each worker can read its own partitions, and send the rows to the worker that computes the
    answer.
    """

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the answer as JSON; None if there is nothing to return.

        Raises:
            CannotAnswerError: the table cannot answer the query.
        """
        ...


@dataclass(frozen=True)
class ByKey:
    """The rows of one key.

    Attributes:
        key: the key.
        rows: which of its windows, sessions or events.
    """

    key: str
    rows: Range = field(default_factory=Range)

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the table's rows of the key."""
        found = table.query(readers, self.key, self.rows)
        return None if found is None else {"key": self.key, **found}


@dataclass(frozen=True)
class Keys:
    """The keys of a table, with the newest value of each.

    Attributes:
        prefix: prefix of the keys.
        after: the last key of the previous page; None for the first page.
        limit: maximum number of keys.
    """

    prefix: str = ""
    after: str | None = None
    limit: int = 100

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the keys in order; `next` is the `after` of the next page.

        Raises:
            CannotAnswerError: the table's keys cannot be listed.
        """
        if not isinstance(table, Listed):
            raise CannotAnswerError(f"The keys of {table.name!r} ({table.kind}) cannot be listed")
        shown: list[dict[str, Any]] = []
        for key, _ in groupby(merge(*(table.keys(reader, self.prefix, self.after) for reader in readers))):
            newest = table.newest(readers, key)
            if newest is None:
                continue
            if len(shown) == self.limit:
                return {"keys": shown, "next": shown[-1]["key"]}
            shown.append({"key": key, "newest": newest})
        return {"keys": shown}


@dataclass(frozen=True)
class Top:
    """The keys with the largest figure.

    Attributes:
        limit: number of keys.
        by: name of the figure; None for the only one.
        at: an event time within the window, seconds since the epoch; None for the newest window.
    """

    limit: int = 10
    by: str | None = None
    at: float | None = None

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the keys, largest first.

        Raises:
            CannotAnswerError: the table has no such figure, or too many keys.
        """
        if not isinstance(table, Ranked):
            raise CannotAnswerError(f"The keys of {table.name!r} ({table.kind}) cannot be ranked")
        return table.top(readers, self.by, self.at, self.limit)
