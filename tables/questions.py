"""What can be asked of a table. Each question is answered from the rows of all partitions at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

from tables.reading import Committed
from tables.table import CannotAnswerError, Queryable, Range


@runtime_checkable
class Listed(Protocol):
    """A table whose keys can be listed."""

    def keys(self, reader: Committed, prefix: str, after: str | None) -> Iterator[str]:
        """Yield a partition's keys that begin with `prefix`, those behind `after`, in order."""
        ...

    def newest(self, readers: Sequence[Committed], key: str) -> dict[str, Any] | None:
        """Return the newest value of a key, as JSON; None if there is none."""
        ...


@runtime_checkable
class Ranked(Protocol):
    """A table whose keys can be compared by a figure."""

    def top(
        self, readers: Sequence[Committed], by: str | None, at: float | None, limit: int
    ) -> dict[str, Any]:
        """Return the keys with the largest figure, as JSON.

        Args:
            readers: the partitions.
            by: name of the figure; None for the only one.
            at: event time that the window holds, seconds since the epoch; None for the newest.
            limit: how many keys.

        Raises:
            CannotAnswerError: there is no such figure, or there are too many keys.
        """
        ...


class Question(Protocol):
    """What is asked.

    It reads of a partition the same rows whichever others are asked beside it, and needs no other rows: so
    each worker can answer for its own, and send the rows that it has read to where all are put together.
    """

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the answer as JSON; None if there is nothing of it.

        Raises:
            CannotAnswerError: the table cannot answer it.
        """
        ...


@dataclass(frozen=True)
class ByKey:
    """What is there of a key?

    Attributes:
        key: the key.
        rows: which of its windows, sessions or events.
    """

    key: str
    rows: Range = field(default_factory=Range)

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return what the table says of the key."""
        found = table.query(readers, self.key, self.rows)
        return None if found is None else {"key": self.key, **found}


@dataclass(frozen=True)
class Keys:
    """Which keys are there, and what is newest of each?

    Attributes:
        prefix: what they begin with.
        after: the key to go on after; None for the first.
        limit: how many at most.
    """

    prefix: str = ""
    after: str | None = None
    limit: int = 100

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the keys in order; `next` is what to go on after.

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
    """Which keys have the largest figure?

    Attributes:
        limit: how many keys.
        by: name of the figure; None for the only one.
        at: event time that the window holds, seconds since the epoch; None for the newest.
    """

    limit: int = 10
    by: str | None = None
    at: float | None = None

    def answer(self, table: Queryable, readers: Sequence[Committed]) -> dict[str, Any] | None:
        """Return the keys, the largest first.

        Raises:
            CannotAnswerError: the table has no such figure, or too many keys.
        """
        if not isinstance(table, Ranked):
            raise CannotAnswerError(f"The keys of {table.name!r} ({table.kind}) cannot be ranked")
        return table.top(readers, self.by, self.at, self.limit)
