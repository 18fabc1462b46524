"""What the jobs with Millstream share: topics, and an agent for a table."""

from functools import partial
from typing import Any

import faust

import millstream
from millstream import Batches, Commit, EventTime, twin
from millstream.tables.aggregates import Count, Max, Min, Several, Sum
from millstream.tables.sessions import Session, SessionTable
from millstream.tables.windows import Window, WindowTable


class Measure(faust.Record):
    """A value of a key."""

    key: str
    value: int
    timestamp: EventTime


class WindowResult(faust.Record):
    """What a window of a key has had, when it closes; times in seconds since the epoch."""

    key: str
    start: float
    end: float
    count: int
    sum: int
    min: int
    max: int


_WindowResult = twin(WindowResult)

app = millstream.App("windows", agents=())
raw = app.source_topic(
    "windows.raw", Measure, key="key", dead_letters="windows.dead-letters", late="windows.late"
)
results = app.output_topic("windows.results", WindowResult, copartitioned=True)

FIGURES = Several(Count(), Sum(), Min(), Max())


def run(table: WindowTable[Any, int] | SessionTable[Any, int]) -> None:
    """Declare an agent that puts each event into a table, and sends the windows that close."""
    app.add_tables(raw, table)

    @app.agent(raw)
    async def windows(batches: Batches[Measure]) -> None:
        async for batch in batches:
            async with batch.commit() as commit:
                figures = table.open(commit, closed=partial(send_result, commit))
                for event in batch:
                    figures.add(event.key, event.value, at=event.timestamp)


def send_result(commit: Commit, window: Window | Session) -> None:
    """Send the result of a window."""
    value = _WindowResult(key=window.key, start=window.start, end=window.end, **window.result)
    commit.send(results, key=window.key, value=value)


__all__ = ["FIGURES", "app", "run"]
