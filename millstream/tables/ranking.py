"""Ranks keys by a figure."""

from collections.abc import Mapping
from heapq import nsmallest
from typing import Any

from millstream.tables.table import CannotAnswerError


def largest(
    table: str, results: Mapping[str, dict[str, Any]], nothing: dict[str, Any], by: str | None, limit: int
) -> dict[str, Any]:
    """Return the keys with the largest figure, as JSON; equal ones are in key order.

    Args:
        table: the table's name.
        results: the result of each key.
        nothing: the result of no events; a field that is None in it may become a figure.
        by: name of the figure; None for the only one.
        limit: number of keys.

    Raises:
        CannotAnswerError: there is no such figure.
    """
    figures = {name for name, value in nothing.items() if value is None or _is_figure(value)}
    figures.update(name for result in results.values() for name in result if _is_figure(result[name]))
    if by is None and len(figures) == 1:
        (by,) = figures
    if by is None or by not in figures:
        known = ", ".join(sorted(figures)) or "none"
        raise CannotAnswerError(f"by= is required to rank the keys of {table!r}; it must be one of: {known}")
    ranked = ((-result[by], key) for key, result in results.items() if _is_figure(result.get(by)))
    return {"by": by, "top": [{"key": key, **results[key]} for _, key in nsmallest(limit, ranked)]}


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
