"""The service with a second batch agent, that looks prices up in a reference topic.

Its leases are short: after a kill it soon sees other prices.
"""

import faust

from app.engine.batch import Batches
from app.main import app
from app.service import output_topic, refer, reference_topic, source_topic
from models.record import EventTime, twin


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


raw = source_topic("orders.raw", Order, key="code", dead_letters="orders.dead-letters")
priced = output_topic("orders.priced", Priced, copartitioned=True)
prices = reference_topic("prices", Price, key="code")
refer(raw, prices)
app.engine.lease_seconds = 1.0

_Priced = twin(Priced)


@app.agent(raw)
async def price(batches: Batches[Order]) -> None:
    async for batch in batches:
        async with batch.commit() as out:
            known = prices.open(out)
            for order in batch:
                found = known.get(order.code)
                value = _Priced(order.number, None if found is None else found.price)
                out.send(priced, key=order.code, value=value)


__all__ = ["app"]
