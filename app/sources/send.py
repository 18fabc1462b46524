"""Records into a topic, in bulk: none lost silently, and in order for each key."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from app.sources.batches import BATCH_BYTES, CONFIRM_SECONDS, Batches, SendError
from app.sources.record import Record

CONNECT_SECONDS = 10.0
# A topic just created may take a moment to be known.
TOPIC_SECONDS = 2.0
TICK_SECONDS = 0.025
# Records between two looks at the event loop.
STRETCH = 1024

Due = Callable[[int, Record], float]


class Sent(NamedTuple):
    """What has been sent, every record of it confirmed by Kafka.

    Attributes:
        records: number of records.
        seconds: time that it took, connecting not counted.
        stopped: whether it was stopped before the end.
    """

    records: int
    seconds: float
    stopped: bool


async def send(
    records: Iterable[Record],
    *,
    bootstrap: str,
    topic: str,
    due: Due | None = None,
    on_progress: Callable[[int], None] | None = None,
    stop: asyncio.Event | None = None,
) -> Sent:
    """Send the records and wait until Kafka has confirmed each.

    Records of one key go to one partition, the one that Kafka's own clients choose, in their order. Records
    without a key go to all partitions in turn.

    Args:
        records: what to send; an error that taking one raises is raised after the others are confirmed.
        bootstrap: Kafka's addresses, comma-separated `host:port`.
        topic: must exist.
        due: seconds after the start when a record may leave, given its number and itself; None is at once.
        on_progress: called now and then with the number of records taken.
        stop: when set, no more records are taken.

    Raises:
        SendError: no Kafka, no such topic, or Kafka does not confirm.
    """
    stop = stop or asyncio.Event()
    progress = on_progress or (lambda _: None)
    taken = 0
    async with _producer(bootstrap) as producer:
        out = Batches(producer, topic, await _partitions(producer, topic))
        started = time.monotonic()
        try:
            for record in records:
                if taken % STRETCH == 0:
                    progress(taken)
                    await asyncio.sleep(0)
                if due is not None:
                    while (
                        not stop.is_set() and (wait := due(taken, record) - (time.monotonic() - started)) > 0
                    ):
                        await out.flush()
                        progress(taken)
                        await _sleep(max(wait, TICK_SECONDS), stop)
                if stop.is_set():
                    break
                await out.add(record)
                taken += 1
        except SendError:
            raise
        except Exception:  # of the source, whatever it is: what it gave before is sent, and confirmed
            await out.confirm()
            raise
        await out.confirm()
        progress(taken)
        return Sent(taken, time.monotonic() - started, stop.is_set())


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


@asynccontextmanager
async def _producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        max_batch_size=BATCH_BYTES,
        request_timeout_ms=int(CONFIRM_SECONDS * 1000),
    )
    try:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await producer.start()
        except (KafkaError, OSError, TimeoutError) as exc:
            raise SendError(
                f"no Kafka answers at {bootstrap}: start one with `millstream kafka up`, "
                "or set KAFKA_BOOTSTRAP_SERVERS to the address of yours"
            ) from exc
        yield producer
    finally:
        # Bounded: stop() waits for batches that a dead broker will never confirm.
        with suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), CONNECT_SECONDS / 2)


async def _partitions(producer: AIOKafkaProducer, topic: str) -> list[int]:
    deadline = time.monotonic() + TOPIC_SECONDS
    while True:
        # Of all topics: asking for one by name would create it where auto-creation is on.
        try:
            known = (await producer.client.fetch_all_metadata()).partitions_for_topic(topic)
        except KafkaError as exc:
            raise SendError(f"Kafka does not tell its topics: {exc}") from exc
        if known:
            return sorted(known)
        if time.monotonic() > deadline:
            raise SendError(f"topic {topic} does not exist: run `millstream topics`")
        await asyncio.sleep(0.1)
