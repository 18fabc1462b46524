"""Bulk sending of records to a topic: no record is lost silently, and each key's records keep their order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from millstream.sources.batches import BATCH_BYTES, CONFIRM_SECONDS, Batches, SendError
from millstream.sources.record import Record

CONNECT_SECONDS = 10.0
# Time limit for a new topic to become visible.
TOPIC_SECONDS = 2.0
TICK_SECONDS = 0.025
# Number of records between two yields to the event loop.
YIELD_RECORDS = 1024

Due = Callable[[int, Record], float]


class Sent(NamedTuple):
    """The records that were sent; Kafka has confirmed all of them.

    Attributes:
        records: number of records.
        seconds: duration, without connecting.
        stopped: whether sending was stopped before the end.
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
    """Send the records and wait until Kafka has confirmed all of them.

    Records with the same key go to one partition, the one that Kafka's own clients choose, in their order.
    Records without a key go to all partitions in turn.

    Args:
        records: the records; an error that the iterator raises is raised after the earlier records are
            confirmed.
        bootstrap: Kafka's addresses, comma-separated `host:port`.
        topic: the topic, which must exist.
        due: returns when a record may be sent, in seconds after the start, for its number and itself; None
            sends at once.
        on_progress: called now and then with the number of records taken.
        stop: no more records are taken when this is set.

    Raises:
        SendError: Kafka does not answer, the topic does not exist, or Kafka does not confirm.
    """
    stop = stop or asyncio.Event()
    progress = on_progress or (lambda _: None)
    taken = 0
    async with _producer(bootstrap) as producer:
        batches = Batches(producer, topic, await _partitions(producer, topic))
        started = time.monotonic()
        try:
            for record in records:
                if taken % YIELD_RECORDS == 0:
                    progress(taken)
                    await asyncio.sleep(0)
                if due is not None:
                    while (
                        not stop.is_set() and (wait := due(taken, record) - (time.monotonic() - started)) > 0
                    ):
                        await batches.flush()
                        progress(taken)
                        await _sleep(max(wait, TICK_SECONDS), stop)
                if stop.is_set():
                    break
                await batches.add(record)
                taken += 1
        except SendError:
            raise
        except Exception:  # of the source: the earlier records are sent and confirmed
            await batches.confirm()
            raise
        await batches.confirm()
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
        # Bounded, because stop() waits for batches that a dead broker will never confirm.
        with suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), CONNECT_SECONDS / 2)


async def _partitions(producer: AIOKafkaProducer, topic: str) -> list[int]:
    deadline = time.monotonic() + TOPIC_SECONDS
    while True:
        # Metadata of all topics: a request for one topic by name would create it if auto-creation is on.
        try:
            known = (await producer.client.fetch_all_metadata()).partitions_for_topic(topic)
        except KafkaError as exc:
            raise SendError(f"Kafka does not return its topics: {exc}") from exc
        if known:
            return sorted(known)
        if time.monotonic() > deadline:
            raise SendError(f"topic {topic} does not exist: run `millstream topics`")
        await asyncio.sleep(0.1)
