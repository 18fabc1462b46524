"""Events made up beforehand: whoever sends them at a rate has no time for it."""

import marshal
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import orjson

from bench.expected import Expected, events
from millstream.kafka.partitioner import partition_for

# Events that a sender reads at once: it takes far less than a millisecond, also where memory is slow.
CHUNK = 100


@dataclass(frozen=True)
class Feed:
    """Events in a file: lists of `CHUNK` messages as `confluent_kafka.Producer.produce_batch` takes them.

    Attributes:
        path: the file.
        count: number of events.
        outputs: number of enriched events that must come of them.
        numbers: by partition, the number of each of its events among all, in the order of its offsets.
        probes: number and id of some events that are the first with their id.
    """

    path: Path
    count: int
    outputs: int
    numbers: dict[int, "array[int]"]
    probes: list[tuple[int, str]]


class Feeder:
    """An endless row of events, cut into feeds.

    Args:
        seed: of the events.
        partitions: of the topic.
        rate: events per second of event time, where it is not that of the workload.

    Attributes:
        expected: what must come of all feeds so far.
    """

    def __init__(self, seed: int, partitions: int, rate: float | None = None) -> None:
        self.expected = Expected()
        self._records = self.expected.watch(events(None, seed, rate), time.time())
        self._partitions = partitions
        self._known: dict[bytes, int] = {}

    def feed(self, path: Path, count: int, probes: Sequence[int] = ()) -> Feed:
        """Write the next `count` events to a file.

        Args:
            path: the file.
            count: number of events, from 1.
            probes: numbers of the events to choose as probes, ascending; for one that is not the first with
                its id, the next such event is chosen.
        """
        ids = self.expected.ids
        numbers: dict[int, array[int]] = {number: array("q") for number in range(self._partitions)}
        before = known = len(ids)
        chosen: list[tuple[int, str]] = []
        with path.open("wb") as file:
            for start in range(0, count, CHUNK):
                chunk = []
                for n, record in enumerate(islice(self._records, min(CHUNK, count - start)), start):
                    chunk.append({"value": record.value, "key": record.key})
                    numbers[self._partition(record.key)].append(n)
                    if len(ids) > known:
                        known = len(ids)
                        if len(chosen) < len(probes) and n >= probes[len(chosen)]:
                            chosen.append((n, orjson.loads(record.value or b"")["event_id"]))
                marshal.dump(chunk, file)
        return Feed(path, count, known - before, numbers, chosen)

    def _partition(self, key: bytes | None) -> int:
        """Tell the partition that the sender chooses, too."""
        assert key is not None, "made-up events have keys"
        if key not in self._known:
            self._known[key] = partition_for(key, self._partitions)
        return self._known[key]
