"""A service whose agent looks prices up in a reference topic.

Its leases are short: after a kill it soon sees other prices.
"""

import faust

import millstream
from millstream import Batches, EventTime, twin


class Order(faust.Record):
    number: int
    code: str
    timestamp: EventTime


class Price(faust.Record):
    code: str
    price: int


class Priced(faust.Record):
    number: int
    price: int | None


app = millstream.App("priced", agents=())
raw = app.source_topic("orders.raw", Order, key="code", dead_letters="orders.dead-letters")
priced = app.output_topic("orders.priced", Priced, copartitioned=True)
prices = app.reference_topic("prices", Price, key="code")
app.add_references(raw, prices)
app.engine.reference_timings.lease_seconds = 1.0

_Priced = twin(Priced)


@app.agent(raw)
async def price(batches: Batches[Order]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            known = prices.open(commit)
            for order in batch:
                found = known.get(order.code)
                value = _Priced(number=order.number, price=None if found is None else found.price)
                commit.send(priced, key=order.code, value=value)


__all__ = ["app"]
