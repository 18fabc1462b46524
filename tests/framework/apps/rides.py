"""A service with two agents on one topic, and the same events by another key."""

from datetime import timedelta
from typing import Annotated

import faust
from msgspec import Meta

import millstream
from millstream import Batches, EventTime
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.values import ValueTable
from millstream.tables.windows import WindowTable

MINUTE = timedelta(minutes=1)


class Ride(faust.Record):
    number: int
    bike: str
    station: str
    at: EventTime


class Receipt(faust.Record):
    number: int
    cents: Annotated[int, Meta(ge=0, le=10_000)]


app = millstream.App("rides", agents=())
rides = app.source_topic("rides", Ride, key="bike", event_time="at", idle=MINUTE)
by_station = app.rekeyed_topic("rides.by-station", rides, key="station", late="rides.late")
receipts = app.output_topic("receipts", Receipt, copartitioned=True)

seen = DedupTable("seen", ttl=timedelta(hours=1), id="number")
per_bike = ValueTable("per-bike", value=Count("rides"))
also = ValueTable("also", value=Count("rides"))
app.add_tables(rides, seen, per_bike, keyed=True)
app.add_tables(rides, also)
per_station = WindowTable("per-station", size=5 * MINUTE, value=Count("rides"), grace=MINUTE)
app.add_tables(by_station, per_station, keyed=True)

PRICE = 100
# What a test makes fail, once: the name of an agent.
failing: set[str] = set()


def fail(name: str) -> None:
    if name in failing:
        failing.remove(name)
        raise RuntimeError(f"{name} fails once")


@app.agent(rides)
async def first(batches: Batches[Ride]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counts = per_bike.open(commit)
            for ride in seen.open(commit).first(batch):
                counts.add(ride.bike, 1, at=ride.at)
                commit.rekey(by_station, ride)
            fail("first")


@app.agent(rides)
async def second(batches: Batches[Ride]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counts = also.open(commit)
            for ride in batch:
                counts.add(ride.bike, 1, at=ride.at)
                commit.send(receipts, key=ride.bike, value=Receipt(number=ride.number, cents=PRICE))
            fail("second")


@app.agent(by_station)
async def stations(batches: Batches[Ride]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            counts = per_station.open(commit)
            for ride in batch:
                counts.add(ride.station, 1, at=ride.at)


__all__ = ["app"]
