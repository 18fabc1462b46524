"""The service with a second batch agent, whose sessions end by silence."""

from datetime import timedelta
from functools import partial

import faust

from app.engine.batch import Batches, Out
from app.main import app
from app.service import keep, output_topic, source_topic
from models.record import EventTime, twin
from tables.aggregates import Count
from tables.sessions import Session, SessionTable


class Step(faust.Record):
    user_id: str
    timestamp: EventTime


class Walk(faust.Record):
    user_id: str
    start: float
    end: float
    steps: int


raw = source_topic(
    "silent.raw",
    Step,
    key="user_id",
    dead_letters="silent.dead-letters",
    late="silent.late",
    idle=timedelta(seconds=1),
)
done = output_topic("silent.walks", Walk, copartitioned=True)
walks = SessionTable("walks", gap=timedelta(seconds=2), value=Count("steps"))
keep(raw, walks)


@app.agent(raw)
async def walking(batches: Batches[Step]) -> None:
    async for batch in batches:
        async with batch.commit() as out:
            users = walks.open(out, closed=partial(_send, out))
            for step in batch:
                users.add(step.user_id, step, at=step.timestamp)


def _send(out: Out, walk: Session) -> None:
    out.send(done, key=walk.key, value=twin(Walk)(walk.key, walk.start, walk.end, walk.result["steps"]))


__all__ = ["app"]
