"""The service with a second batch agent, that fails as its events tell it to."""

import asyncio
import os
import time
from collections import Counter
from datetime import timedelta

import faust

from app.engine.batch import Batches
from app.engine.errors import ErrorPolicy, Verdict
from app.main import app
from app.service import keep, output_topic, source_topic
from models.record import EventTime, twin
from tables.aggregates import Count
from tables.windows import WindowTable


class Order(faust.Record):
    event_id: str
    user_id: str
    fault: str
    timestamp: EventTime


class Done(faust.Record):
    event_id: str
    tries: int


raw = source_topic("faulty.raw", Order, key="user_id", dead_letters="faulty.dead-letters")
done = output_topic("faulty.done", Done, copartitioned=True)
counts = WindowTable("faulty", size=timedelta(hours=1), value=Count())
keep(raw, counts)

tried: Counter[str] = Counter()
API = os.environ.get("FAULTY_API", "")
CRASH = os.environ.get("FAULTY_CRASH", "")
WELL = bool(os.environ.get("FAULTY_WELL"))
LIMIT = int(os.environ.get("FAULTY_TRIES", "2"))


@app.agent(
    raw,
    errors=ErrorPolicy(
        {ValueError: Verdict.DEAD_LETTER, ConnectionError: Verdict.LATER}, delay=timedelta(seconds=1)
    ),
)
async def faulty(batches: Batches[Order]) -> None:
    async for batch in batches:
        if tried["left-out"] == 1:  # as a careless agent would
            tried["left-out"] += 1
            continue
        if os.path.exists(CRASH):  # outside of a commit  # noqa: ASYNC240 (a moment)
            os.remove(CRASH)
            raise RuntimeError("crashed as told")
        async with batch.commit() as out:
            counter = counts.open(out)
            for order in batch:
                tried[order.event_id] += 1
                if order.fault == "left-out":
                    tried["left-out"] = max(1, tried["left-out"])
                counter.add(order.user_id, 1, at=order.timestamp)
                out.send(done, key=order.user_id, value=twin(Done)(order.event_id, 1))
                if WELL:
                    continue
                if order.fault == "hang":
                    await asyncio.sleep(1000)
                if order.fault == "block":
                    time.sleep(1000)  # noqa: ASYNC251 (as a careless agent would)
                if order.fault == "reject":
                    raise ValueError("no such article")
                if order.fault == "later" and not os.path.exists(API):  # noqa: ASYNC240 (a moment)
                    raise ConnectionError("the API is away")
                if order.fault == "raise" and tried[order.event_id] <= LIMIT:
                    raise RuntimeError("as told")


if os.environ.get("FAULTY_SECOND"):

    @app.agent(raw)
    async def second(batches: Batches[Order]) -> None:
        async for _ in batches:
            pass


__all__ = ["app"]
