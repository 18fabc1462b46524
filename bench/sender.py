"""Open loop: events leave when they are due, whether or not the receiver keeps up.

For a process of its own.
"""

import marshal
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from bench.worker import BenchError

TICK_SECONDS = 0.001
# An event that leaves later than so much after it was due is counted as late.
LATE_SECONDS = 0.005
# librdkafka's default, and that of Kafka 4's own producer.
LINGER_MS = 5
# What may wait for the broker: a sender that had to wait itself would be no open loop.
BUFFER_KBYTES = 2**20
FLUSH_SECONDS = 60
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Sent:
    """What a sender did.

    Attributes:
        rate: events a second, from the first that was due to the last that left.
        late: number of events that left late.
        latest: the latest that one left after it was due, in seconds.
        cpu: share of a core that the sender used.
    """

    rate: float
    late: int
    latest: float
    cpu: float


def send(
    kafka: str, topic: str, path: Path, count: int, rate: float, start: int, linger: int = LINGER_MS
) -> Sent:
    """Send a feed, and wait until Kafka has it.

    Args:
        kafka: addresses, host:port with commas.
        topic: must exist.
        path: of the feed.
        count: number of its events.
        rate: events a second; event n is due n / rate seconds after the start.
        start: the monotonic clock's nanoseconds when the first is due.
        linger: milliseconds that an event may wait for others, to leave with them.

    Raises:
        BenchError: Kafka does not take them.
    """
    settings = {
        "bootstrap.servers": kafka,
        "acks": "all",
        # An idempotent librdkafka has five requests under way, each for one partition: whenever the broker
        # took longer than the linger it would hold events back, and spin meanwhile. Nothing can come twice or
        # in another order either way: what fails is not tried again, and whoever counts finds it missing.
        "enable.idempotence": False,
        "message.send.max.retries": 0,
        "linger.ms": linger,
        "partitioner": "murmur2_random",  # as Kafka's own clients choose
        "queue.buffering.max.messages": 0,
        "queue.buffering.max.kbytes": BUFFER_KBYTES,
    }
    producer = Producer(settings)
    try:
        producer.list_topics(topic, timeout=CONNECT_SECONDS)
        with path.open("rb") as file:
            sent = _send(producer, topic, file, count, rate / 1e9, start)
        waiting = producer.flush(FLUSH_SECONDS)
    except (BufferError, KafkaException) as exc:
        raise BenchError(f"the sender failed: {exc}") from exc
    if waiting:
        raise BenchError(f"Kafka has not taken {waiting:,} events after {FLUSH_SECONDS} s")
    return sent


def _send(producer: Producer, topic: str, file: object, count: int, rate: float, start: int) -> Sent:
    """Send; `rate` is events a nanosecond."""
    time.sleep(max(0.0, (start - time.monotonic_ns()) / 1e9))
    sent = late = latest = at = 0
    chunk: list[dict[str, object]] = []
    cpu = time.process_time()
    while sent < count:
        now = time.monotonic_ns()
        due = min(count, int((now - start) * rate) + 1)
        if due > sent:
            latest = max(latest, now - start - int(sent / rate))
            late += max(0, min(due, int((now - LATE_SECONDS * 1e9 - start) * rate)) - sent)
        while sent < due:
            if at == len(chunk):
                chunk, at = marshal.load(file), 0  # type: ignore[arg-type] # a file, which typeshed has no name for
            part = chunk[at : at + due - sent]
            if producer.produce_batch(topic, part) != len(part):
                raise BenchError(f"the sender failed: {[m['_error'] for m in part if '_error' in m][:1]}")
            at += len(part)
            sent += len(part)
        producer.poll(0)
        time.sleep(TICK_SECONDS)
    seconds = (time.monotonic_ns() - start) / 1e9
    return Sent(count / seconds, late, latest / 1e9, (time.process_time() - cpu) / seconds)
