"""The events of a run, and what must come out of them."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import orjson
from aiokafka.structs import ConsumerRecord

from app.generator import synthetic
from bench.rules import parse, risk_level, window_start
from millstream.kafka.reading import records
from millstream.sources.record import Record
from models.countries import region

# 2026-01-01T00:00:00Z. With a rate of 1,000 events a second of event time, a million events are 17 minutes:
# ids expire, windows change, and a repeat follows well within the time that its id is remembered for.
START = 1_767_225_600
WORKLOAD = {"rate": 1000, "users": 1000, "pages": 200, "duplicates": 0.05, "invalid": 0.01, "late": 0}


def events(count: int | None, seed: int, rate: float | None = None) -> Iterator[Record]:
    """Make up the first `count` events, or all of an endless row; fewer are a prefix of more.

    Args:
        count: how many; None is without end.
        seed: of the events.
        rate: events per second of event time, where it is not that of `WORKLOAD`.
    """
    load = WORKLOAD | ({} if rate is None else {"rate": rate})
    return islice(synthetic.events(seed, count=None, start=START, **load), count)  # type: ignore[arg-type] # a mapping of mixed types


@dataclass
class Expected:
    """What must be in the output topics.

    Attributes:
        records: number of events that went in, of all kinds.
        ids: the valid events' ids, and what each is enriched with.
        invalid: number of events that are none.
        views: views by page and first second of the minute.
    """

    records: int = 0
    ids: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    invalid: int = 0
    views: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def outputs(self) -> int:
        """Number of records that must come out of `OUTPUT`, if each does once."""
        return len(self.ids)

    @property
    def rows(self) -> int:
        """The size of the state is not looked at."""
        return 0

    def watch(self, source: Iterable[Record], now: float) -> Iterator[Record]:
        """Pass records on, and take note of what must become of them.

        Args:
            source: the records, in the order of sending.
            now: time of sending, seconds since the epoch.
        """
        for record in source:
            self.records += 1
            self._add(record.value, now)
            yield record

    def _add(self, value: bytes | None, now: float) -> None:
        fields = parse(value, now)
        if fields is None:
            self.invalid += 1
            return
        if fields["event_id"] in self.ids:
            return
        self.ids[fields["event_id"]] = risk_level(fields.get("amount")), region(fields.get("country"))
        if fields["action"] == "view" and fields.get("page") is not None:
            self.views[fields["page"], window_start(fields["timestamp"])] += 1

    async def problems(self, kafka: str, prefix: str, *, repeats: bool = False) -> list[str]:
        """Compare with the topics behind a prefix; no line is no difference.

        Args:
            kafka: addresses, host:port with commas.
            prefix: of the topics.
            repeats: whether a record that comes again, with the same origin, counts once: Millstream may send
                some again where partitions have changed hands.
        """
        found = []
        left, more, wrong = dict(self.ids), 0, 0
        async for record in _read(kafka, f"{prefix}activity.enriched", repeats):
            event = orjson.loads(record.value)
            enriched = left.pop(event["event_id"], None)
            if enriched is None:
                more += 1
            elif enriched != (event["risk_level"], event.get("region")):
                wrong += 1
        if left or more or wrong:
            found.append(f"enriched events: {len(left)} missing, {more} too many, {wrong} wrong")

        letters = sum([1 async for _ in _read(kafka, f"{prefix}activity.dead-letters", repeats)])
        if letters != self.invalid:
            found.append(f"dead letters: {letters}, expected {self.invalid}")

        views = await newest_views(kafka, f"{prefix}activity.page-counts", "page")
        if views != self.views:
            found.append(f"page views: {views.total()} in all, expected {self.views.total()}")
        return found


async def newest_views(kafka: str, topic: str, name: str) -> Counter[tuple[str, int]]:
    """Sum up the views of each name and window, told by a topic.

    Of each partition's share the newest counts; the records of a name are in order.
    """
    shares: dict[tuple[str, int, int], int] = {}
    async for record in records(kafka, topic):
        count = orjson.loads(record.value)
        shares[count[name], count["window_start"], count["partition"]] = count["views"]
    views: Counter[tuple[str, int]] = Counter()
    for (of, start, _), share in shares.items():
        views[of, start] += share
    return views


async def _read(kafka: str, topic: str, repeats: bool) -> AsyncIterator[ConsumerRecord]:
    """Read a topic; where there are repeats, the first of each."""
    seen: set[bytes] = set()
    async for record in records(kafka, topic):
        if repeats:
            origin = dict(record.headers)["origin"]
            if origin in seen:
                continue
            seen.add(origin)
        yield record
