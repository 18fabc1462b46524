"""An ordinary consumer of the enriched events, which notes when each came. For a process of its own."""

import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field

from confluent_kafka import Consumer, Message, TopicPartition

from bench.worker import BenchError

POLL_SECONDS = 0.1
# At most so many records are said to have come at one time.
BATCH = 1000
STALL_SECONDS = 60.0


@dataclass
class Arrivals:
    """What came; one index is one record.

    Attributes:
        partitions: of the raw events that the records come from.
        offsets: theirs.
        times: when the records came, nanoseconds of the monotonic clock.
        cpu_seconds: CPU time of the reader.
    """

    partitions: "array[int]" = field(default_factory=lambda: array("q"))
    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[int]" = field(default_factory=lambda: array("q"))
    cpu_seconds: float = 0.0


def read(kafka: str, topic: str, starts: Mapping[int, int], count: int) -> Arrivals:
    """Read until a number of records has come, or none for a minute.

    Args:
        kafka: addresses, host:port with commas.
        topic: the topic.
        starts: offset to begin at, by partition.
        count: number of records.

    Raises:
        BenchError: Kafka does not give them.
    """
    arrivals, cpu = Arrivals(), time.process_time()
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "none", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, number, offset) for number, offset in starts.items()])
        moved = time.monotonic()
        while len(arrivals.times) < count and time.monotonic() - moved < STALL_SECONDS:
            first = consumer.poll(POLL_SECONDS)  # `consume` waits until it has all that it may return
            if first is not None:
                moved = time.monotonic()
                _note([first, *consumer.consume(BATCH, 0)], arrivals)
    finally:
        consumer.close()
    arrivals.cpu_seconds = time.process_time() - cpu
    return arrivals


def _note(messages: list[Message], arrivals: Arrivals) -> None:
    now = time.monotonic_ns()
    for message in messages:
        if message.error() is not None:
            raise BenchError(f"the reader failed: {message.error()}")
        _, number, origin = dict(message.headers() or ())["origin"].split(b"/")
        arrivals.partitions.append(int(number))
        arrivals.offsets.append(int(origin))
        arrivals.times.append(now)
