"""A service whose results follow from its keys: `k3-10-209` gets each of 10 to 209 once."""

from datetime import timedelta
from typing import Any

import faust
import msgspec

import millstream
from millstream import Batches, EventTime, twin
from millstream.tables.windows import WindowTable


class Number(faust.Record):
    key: str
    value: int
    timestamp: EventTime


class Running(faust.Record):
    """What is known of a key up to and with the event that is the record's origin."""

    key: str
    count: int
    sum: int
    min: int
    max: int


class Total(msgspec.Struct, array_like=True):
    count: int = 0
    sum: int = 0
    min: int = 2**62
    max: int = -(2**62)


class Totals:
    """How numbers become a `Total`."""

    type = Total

    def zero(self) -> Total:
        return Total()

    def add(self, total: Total, value: int) -> Total:
        return self.merge(total, Total(1, value, value, value))

    def merge(self, total: Total, more: Total) -> Total:
        return Total(
            total.count + more.count,
            total.sum + more.sum,
            min(total.min, more.min),
            max(total.max, more.max),
        )

    def result(self, total: Total) -> dict[str, Any]:
        return {**msgspec.structs.asdict(total), "avg": total.sum / total.count if total.count else None}


app = millstream.App("closed-form", agents=())
raw = app.source_topic("closed.raw", Number, key="key", dead_letters="closed.dead-letters")
running = app.output_topic("closed.running", Running, copartitioned=True)
totals = WindowTable("totals", size=timedelta(days=365), value=Totals())
app.add_tables(raw, totals)

_Running = twin(Running)


async def sink() -> None:
    """Stands for a call elsewhere in the middle of a commit; other test apps have one that does more."""


calls = {"sink": sink}


@app.agent(raw)
async def closed_form(batches: Batches[Number]) -> None:
    async for batch in batches:
        async with batch.commit() as commit:
            table = totals.open(commit)
            # The running value of each event depends on the state: a replay must meet the same one.
            keys = list({number.key for number in batch.events})
            stored = commit.read([totals.row_key(key, 0) for key in keys])
            known = {key: totals.decode(row) for key, row in zip(keys, stored, strict=True)}
            for number in batch:
                table.add(number.key, number.value, at=number.timestamp)
                total = known[number.key] = totals.value.add(known[number.key], number.value)
                value = _Running(
                    key=number.key, count=total.count, sum=total.sum, min=total.min, max=total.max
                )
                commit.send(running, key=number.key, value=value)
            await calls["sink"]()


__all__ = ["app"]
