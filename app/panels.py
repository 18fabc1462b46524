"""What the live page draws of tables: declared in a line beside the agent that fills them.

show(Bars("Pages seen most", page_totals, by="views", ago=MINUTE))
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from tables.replica import Table


@dataclass(frozen=True)
class Panel(ABC):
    """A drawing of what a table answers to one question.

    Attributes:
        title: what is seen, in a few words.
        table: the table that is asked.
    """

    draw: ClassVar[str]

    title: str
    table: Table

    @abstractmethod
    def shown(self) -> dict[str, Any]:
        """Return what the page must know, as JSON: `path` is the view that it asks."""

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
    """The keys with the largest figure of a window: the newest one, or that of some time `ago`.

    Attributes:
        by: name of the figure.
        ago: event time to look back by; a window's length shows the last one that is whole.
        limit: how many keys.
    """

    draw: ClassVar[str] = "bars"

    by: str = ""
    ago: timedelta = timedelta(0)
    limit: int = 8

    def shown(self) -> dict[str, Any]:
        """Return what the page must know."""
        query = urlencode({"top": self.limit, "by": self.by})
        return self._shown(f"?{query}", by=self.by, ago=self.ago.total_seconds())


@dataclass(frozen=True)
class Rows(Panel):
    """The first keys, each with its newest value.

    Attributes:
        columns: names in the values.
        prefix: what the keys begin with.
        limit: how many keys.
    """

    draw: ClassVar[str] = "rows"

    columns: Sequence[str] = ()
    prefix: str = ""
    limit: int = 8

    def shown(self) -> dict[str, Any]:
        """Return what the page must know."""
        query = urlencode({"prefix": self.prefix, "limit": self.limit})
        return self._shown(f"?{query}", columns=list(self.columns))


@dataclass(frozen=True)
class Line(Panel):
    """A figure of a key's windows over time.

    Attributes:
        key: the key.
        by: name of the figure.
        last: how much event time.
    """

    draw: ClassVar[str] = "line"

    key: str = ""
    by: str = ""
    last: timedelta = timedelta(minutes=30)

    def shown(self) -> dict[str, Any]:
        """Return what the page must know."""
        return self._shown(f"/{quote(self.key, safe='')}", by=self.by, last=self.last.total_seconds())


PANELS: list[Panel] = []
"""All that were declared, in the order in which the agents were loaded."""


def show(*panels: Panel) -> None:
    """Show panels on the live page."""
    PANELS.extend(panels)
