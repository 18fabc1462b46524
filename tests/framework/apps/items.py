"""A small service for the events of a first tutorial: `{"id": 7, "value": "record_7"}`, keyed by text."""

from datetime import timedelta
from typing import Annotated

import millstream
from millstream import Batches, EventTime, Fallback, From, Record
from millstream.tables.aggregates import Count
from millstream.tables.dedup import DedupTable
from millstream.tables.values import ValueTable


class Item(Record):
    id: Annotated[str, From(numbers=True)]
    value: str
    key: Annotated[str, From(fallback=Fallback.RECORD_KEY)]
    timestamp: Annotated[EventTime, From(fallback=Fallback.RECORD_TIME)]


app = millstream.App("items", agents=())
items = app.source_topic("items", Item, key="key")
seen = DedupTable("seen", ttl=timedelta(hours=1), id="id")
counts = ValueTable("counts", value=Count("items"))
app.add_tables(items, seen, counts, keyed=True)


@app.agent(items)
async def count(batches: Batches[Item]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            table = counts.open(commit)
            for item in seen.open(commit).first(batch):
                table.add(item.key, 1, at=item.timestamp)


__all__ = ["app"]
