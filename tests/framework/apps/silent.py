"""A service whose sessions end by silence."""

from datetime import timedelta
from functools import partial

import faust

import millstream
from millstream import Batches, Commit, EventTime, twin
from millstream.tables.aggregates import Count
from millstream.tables.sessions import Session, SessionTable


class Step(faust.Record):
    user_id: str
    timestamp: EventTime


class Walk(faust.Record):
    user_id: str
    start: float
    end: float
    steps: int


app = millstream.App("silent", agents=())
raw = app.source_topic(
    "silent.raw",
    Step,
    key="user_id",
    dead_letters="silent.dead-letters",
    late="silent.late",
    idle=timedelta(seconds=1),
)
done = app.output_topic("silent.walks", Walk, copartitioned=True)
walks = SessionTable("walks", gap=timedelta(seconds=2), value=Count("steps"))
app.add_tables(raw, walks)


@app.agent(raw)
async def walking(batches: Batches[Step]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            users = walks.open(commit, closed=partial(_send, commit))
            for step in batch:
                users.add(step.user_id, step, at=step.timestamp)


def _send(commit: Commit, walk: Session) -> None:
    commit.send(
        done,
        key=walk.key,
        value=twin(Walk)(user_id=walk.key, start=walk.start, end=walk.end, steps=walk.result["steps"]),
    )


__all__ = ["app"]
