"""What the jobs with Millstream share: topics, and an agent for a table."""

from functools import partial
from typing import Any

import faust

from app.engine.batch import Batches, Out
from app.service import app, keep, output_topic, source_topic
from app.web import views
from models.record import EventTime, twin
from tables.aggregates import Count, Max, Min, Several, Sum
from tables.sessions import Session, SessionTable
from tables.windows import Window, WindowTable


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

raw = source_topic(
    "windows.raw", Measure, key="key", dead_letters="windows.dead-letters", late="windows.late"
)
results = output_topic("windows.results", WindowResult, copartitioned=True)

FIGURES = Several(Count(), Sum(), Min(), Max())


def run(table: WindowTable[Any, int] | SessionTable[Any, int]) -> None:
    """Have an agent that puts each event into a table, and tells what closes."""
    keep(raw, table)

    @app.agent(raw)
    async def windows(batches: Batches[Measure]) -> None:
        async for batch in batches:
            async with batch.commit() as out:
                figures = table.open(out, closed=partial(send_result, out))
                for event in batch:
                    figures.add(event.key, event.value, at=event.timestamp)


def send_result(out: Out, window: Window | Session) -> None:
    """Tell what a window has had."""
    value = _WindowResult(window.key, window.start, window.end, **window.result)
    out.send(results, key=window.key, value=value)


__all__ = ["FIGURES", "app", "run", "views"]
