"""A service whose agent fails as its events say."""

import asyncio
import os
import time
from collections import Counter
from datetime import timedelta

import faust

import millstream
from millstream import Batches, ErrorPolicy, EventTime, Verdict, twin
from millstream.tables.aggregates import Count
from millstream.tables.windows import WindowTable


class Order(faust.Record):
    event_id: str
    user_id: str
    fault: str
    timestamp: EventTime


class Done(faust.Record):
    event_id: str
    tries: int


app = millstream.App("faulty", agents=())
raw = app.source_topic("faulty.raw", Order, key="user_id", dead_letters="faulty.dead-letters")
done = app.output_topic("faulty.done", Done, copartitioned=True)
counts = WindowTable("faulty", size=timedelta(hours=1), value=Count())
app.add_tables(raw, counts)

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
        async with batch.commit() as commit:
            counter = counts.open(commit)
            for order in batch:
                tried[order.event_id] += 1
                if order.fault == "left-out":
                    tried["left-out"] = max(1, tried["left-out"])
                counter.add(order.user_id, 1, at=order.timestamp)
                commit.send(done, key=order.user_id, value=twin(Done)(event_id=order.event_id, tries=1))
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

    @app.agent(raw, concurrency=2)
    async def second(batches: Batches[Order]) -> None:
        async for _ in batches:
            pass


__all__ = ["app"]
