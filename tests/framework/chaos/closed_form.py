"""Load whose results follow from its keys, as in Kafka Streams' SmokeTestDriver; and its check."""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import count
from typing import Any

from millstream.kafka.partitioner import partition_for
from millstream.sources.record import Record
from tests.framework.chaos.report import Report
from tests.framework.chaos.tables import Tables
from tests.framework.service import Service

STRETCH = 10
ASKED = 1_000


class ClosedForm:
    """Keys `k<n>-<min>-<max>`; each gets every value from min to max once, shuffled in tens.

    They come block by block, until it is enough.

    Args:
        keys: of a block.
        width: values of a key.
        rate: events a second.

    Attributes:
        enough: whether the block that is being sent is the last one.
    """

    app = "tests.framework.apps.closed_form"
    derived = ()
    source = "closed.raw"

    def __init__(self, *, keys: int = 20, width: int = 200, rate: float = 2000, seed: int = 1) -> None:
        self.keys, self.width, self.rate, self.seed = keys, width, rate, seed
        self.enough = False

    @property
    def count(self) -> int:
        """Events of a block."""
        return self.keys * self.width

    def records(self) -> Iterator[Record]:
        rand = random.Random(self.seed)
        for number in count():
            yield from self._block(rand, number)
            if self.enough:
                return

    def _block(self, rand: random.Random, block: int) -> Iterator[Record]:
        waiting: list[tuple[str, list[int]]] = []
        for number in range(block * self.keys, (block + 1) * self.keys):
            low = rand.randrange(10_000)
            values = list(range(low, low + self.width))
            for start in range(0, self.width, STRETCH):
                stretch = values[start : start + STRETCH]
                rand.shuffle(stretch)
                values[start : start + STRETCH] = stretch
            waiting.append((f"k{number}-{low}-{low + self.width - 1}", values[::-1]))
        while waiting:
            i = rand.randrange(len(waiting))
            key, values = waiting[i]
            event = {"key": key, "value": values.pop(), "timestamp": 1000 + block}
            yield Record(key.encode(), json.dumps(event).encode(), float(event["timestamp"]))
            if not values:
                waiting[i] = waiting[-1]
                waiting.pop()

    def check(self, service: Service, tables: Tables, report: Report) -> None:
        """Compare every output with the running value of its event, and the tables with the formulas."""
        right = running(service)
        report.events = report.expected = len(right)
        found: dict[tuple[int, int], set[bytes]] = defaultdict(set)
        outputs = service.read("closed.running")
        for record in outputs:
            topic, partition, offset = dict(record.headers)["origin"].decode().rsplit("/", 2)
            assert topic == service.topic(self.source)
            found[int(partition), int(offset)].add(record.value)
        report.repeats = len(outputs) - sum(map(len, found.values()))
        report.lost = len(right.keys() - found.keys())
        report.doubled = sum(len(values) - 1 for values in found.values()) + len(found.keys() - right.keys())
        for origin, values in found.items():
            for value in values:
                report.compare(origin, json.loads(value), right.get(origin))
        keys = {total["key"]: total for total in right.values()}  # the last one of each key
        for key, total in keys.items():
            report.compare(key, total, self.formula(key))
        for key in random.Random(self.seed).sample(sorted(keys), min(len(keys), ASKED)):
            shown = tables.of(partition_for(key.encode(), tables.partitions), "totals", key)["total"]
            total = self.formula(key)
            average = total["sum"] / total["count"]
            report.compare(key, {"key": key, **shown}, total | {"avg": average})
        report.compare("keys of the last block", len(keys) % self.keys, 0)

    @staticmethod
    def formula(key: str) -> dict[str, Any]:
        low, high = map(int, key.split("-")[1:])
        count = high - low + 1
        return {"key": key, "count": count, "sum": (low + high) * count // 2, "min": low, "max": high}


def running(service: Service) -> dict[tuple[int, int], dict[str, Any]]:
    """Return for each event, by partition and offset, what is known of its key up to it."""
    totals: dict[str, dict[str, Any]] = {}
    right = {}
    for record in service.read(ClosedForm.source):
        event = json.loads(record.value)
        key, value = event["key"], event["value"]
        old = totals.get(key, {"count": 0, "sum": 0, "min": value, "max": value})
        right[record.partition, record.offset] = totals[key] = {
            "key": key,
            "count": old["count"] + 1,
            "sum": old["sum"] + value,
            "min": min(old["min"], value),
            "max": max(old["max"], value),
        }
    return right


def counts_up_to(service: Service, ends: dict[int, int]) -> Counter[str]:
    """Return how many events of each key lie before an offset of each partition."""
    return Counter(
        json.loads(r.value)["key"] for r in service.read(ClosedForm.source) if r.offset < ends[r.partition]
    )
