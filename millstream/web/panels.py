"""Panels of tables on the live page. They are declared beside the agent that fills the table.

app.add_panels(Bars("Top pages", page_totals, by="views", ago=MINUTE))
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from millstream.state.replica import Table


@dataclass(frozen=True)
class Panel(ABC):
    """A chart or table on the live page, drawn from one query of a table.

    Attributes:
        title: title of the panel, a few words.
        table: the table to query.
    """

    draw: ClassVar[str]

    title: str
    table: Table

    @abstractmethod
    def shown(self) -> dict[str, Any]:
        """Return the panel for the page, as JSON; `path` is the query."""

    def _shown(self, path: str = "", **more: Any) -> dict[str, Any]:
        table = self.table.name
        return {
            "title": self.title,
            "draw": self.draw,
            "table": table,
            "path": f"/tables/{quote(table, safe='')}{path}",
            **more,
        }


@dataclass(frozen=True)
class Bars(Panel):
    """The keys with the largest figure of a window: the newest one, or an earlier one.

    Attributes:
        by: name of the figure.
        ago: how far to look back in event time; with a window's length, the last complete window is shown.
        limit: number of keys.
    """

    draw: ClassVar[str] = "bars"

    by: str = ""
    ago: timedelta = timedelta(0)
    limit: int = 8

    def shown(self) -> dict[str, Any]:
        """Return the panel for the page."""
        query = urlencode({"top": self.limit, "by": self.by})
        return self._shown(f"?{query}", by=self.by, ago=self.ago.total_seconds())


@dataclass(frozen=True)
class Rows(Panel):
    """The first keys, with their newest values.

    Attributes:
        columns: names of the values' fields to show.
        prefix: prefix of the keys.
        limit: number of keys.
    """

    draw: ClassVar[str] = "rows"

    columns: Sequence[str] = ()
    prefix: str = ""
    limit: int = 8

    def shown(self) -> dict[str, Any]:
        """Return the panel for the page."""
        query = urlencode({"prefix": self.prefix, "limit": self.limit})
        return self._shown(f"?{query}", columns=list(self.columns))


@dataclass(frozen=True)
class Line(Panel):
    """A figure of a key's windows over time.

    Attributes:
        key: the key.
        by: name of the figure.
        last: how much event time to show.
    """

    draw: ClassVar[str] = "line"

    key: str = ""
    by: str = ""
    last: timedelta = timedelta(minutes=30)

    def shown(self) -> dict[str, Any]:
        """Return the panel for the page."""
        return self._shown(f"/{quote(self.key, safe='')}", by=self.by, last=self.last.total_seconds())
