"""A service with two topics that are fed from outside, one that it fills itself, and a reference topic."""

from datetime import timedelta
from typing import Annotated, Literal

import faust
from msgspec import Meta

import millstream
from millstream import Batches, EventTime, From
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.values import ValueTable

Item = Annotated[str, Meta(min_length=1, max_length=20)]


class Delivery(faust.Record):
    number: Annotated[int, From("no")]
    item: Annotated[Item, From("article")]
    at: EventTime
    pieces: Annotated[int, Meta(ge=1, le=1000)]
    price: float | None = None
    express: bool = False
    kind: Literal["in", "out"] = "in"
    tags: list[str] | None = None


class Recall(faust.Record):
    item: Item
    at: EventTime


class Price(faust.Record):
    item: Item
    cents: Annotated[int, Meta(ge=0)]
    name: str | None = None


class Priced(faust.Record):
    item: Item
    at: EventTime
    cents: int


app = millstream.App("stock", agents=())
deliveries = app.source_topic("deliveries", Delivery, key="item", event_time="at", idle=timedelta(minutes=1))
recalls = app.source_topic("recalls", Recall, key="item", event_time="at")
priced = app.source_topic("priced", Priced, key="item", event_time="at", limits=False)
prices = app.reference_topic("prices", Price, key="item")

seen = DedupTable("seen", ttl=timedelta(hours=1), id="number")
stock = ValueTable("stock", value=Count("deliveries"))
recalled = ValueTable("recalled", value=Count("recalls"))
app.add_tables(deliveries, seen, stock, keyed=True)
app.add_tables(recalls, recalled, keyed=True)
app.add_references(deliveries, prices)


@app.agent(deliveries)
async def deliver(batches: Batches[Delivery]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counts, known = stock.open(commit), prices.open(commit)
            for delivery in seen.open(commit).first(batch):
                counts.add(delivery.item, 1, at=delivery.at)
                price = known.get(delivery.item)
                cents = 0 if price is None else price.cents * delivery.pieces
                value = Priced(item=delivery.item, at=delivery.at, cents=cents)
                commit.send(priced, key=delivery.item, value=value)


@app.agent(recalls)
async def recall(batches: Batches[Recall]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counts = recalled.open(commit)
            for one in batch:
                counts.add(one.item, 1, at=one.at)


__all__ = ["app"]
