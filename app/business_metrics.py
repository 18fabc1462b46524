"""Business metrics, read from the tables of the agent `totals` where this worker owns them."""

from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from app import app
from millstream.engine.engine import Engine
from millstream.observability.metrics import Metric
from millstream.state.readers import Committed
from millstream.tables.totals import TotalTable
from models.activity import SalesTotal
from models.totals import ALL, Total

# Limit of a day's countries that a scrape reads: their names come from the events, so any number is possible.
MOST_COUNTRIES = 500

ACTIVE_USERS = Metric(
    "millstream_active_users",
    "gauge",
    "Users of the last complete minute of event time; only with the agent `totals`, at the table's owner.",
)
PURCHASES = Metric(
    "millstream_day_purchases",
    "gauge",
    "Purchases of the day of event time, of the countries whose totals the worker owns; only with `totals`.",
)
SALES = Metric(
    "millstream_day_sales_amount",
    "gauge",
    "Amounts of these purchases less refunds, in the events' own currencies; only with `totals`.",
)


def figures(engine: Engine) -> Iterator[tuple[Metric, float]]:
    """Yield the metrics of the last complete minute and of the current day, by event time."""
    users = [_users(table, reader) for table, reader in _found(engine, "users-per-minute")]
    if any(count is not None for count in users):
        yield ACTIVE_USERS, sum(count or 0 for count in users)
    days = [_sales(table, reader) for table, reader in _found(engine, "sales-per-day")]
    if days:
        yield PURCHASES, sum(day.purchases for day in days)
        yield SALES, sum(day.micros for day in days) / 1_000_000


def _found(engine: Engine, name: Total) -> Iterator[tuple[TotalTable[Any], Committed]]:
    """Yield a table, with each of its partitions that has a watermark."""
    for partition in engine.partitions.values():
        for table in partition.source.tables:
            if table.name == name and partition.committed is not None and partition.state is not None:
                position, rows = partition.state.snapshot()
                with closing(rows):
                    if position.watermark:
                        yield table, Committed(partition.number, position.watermark, rows)


def _users(table: TotalTable[Any], reader: Committed) -> int | None:
    minute = int(reader.watermark // table.size) * table.size
    counts = [value for _, value in table.panes(reader, ALL, minute - table.size, minute)]
    return int(counts[0]) if counts else None


def _sales(table: TotalTable[SalesTotal], reader: Committed) -> SalesTotal:
    day = int(reader.watermark // table.size) * table.size
    total = table.value.zero()
    panes = reader.scan_committed(table.pane_key(day), table.pane_key(day + 1))
    for pane, _ in islice(panes, MOST_COUNTRIES):
        raw = reader.get_committed(table.row_key(table.pane(pane)[1], day))
        total = table.value.merge(total, table.decode(raw))
    return total


app.add_metrics((ACTIVE_USERS, PURCHASES, SALES), figures)
