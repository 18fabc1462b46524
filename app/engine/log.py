"""The state log in Kafka."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import ConsumerRecord, TopicPartition

from app.engine.producer import Record, append

# Longest wait for records that Kafka says are there.
READ_SECONDS = 60.0


class KafkaLog:
    """One partition of a compacted topic.

    Args:
        producer: returns who appends.
        bootstrap: addresses of Kafka, host:port with commas.
        topic: name of the topic.
        number: its partition.
        too_large: what to raise when entries do not fit into one batch.
    """

    def __init__(
        self,
        producer: Callable[[], AIOKafkaProducer],
        bootstrap: str,
        topic: str,
        number: int,
        too_large: type[Exception],
    ) -> None:
        self._producer = producer
        self._bootstrap = bootstrap
        self._partition = TopicPartition(topic, number)
        self._too_large = too_large

    async def append(self, entries: Iterable[Record]) -> int:
        """Append entries as one batch, wait until it is confirmed, and return its first offset."""
        topic, number = self._partition
        try:
            (delivery,) = await append(self._producer(), topic, number, entries, whole=True)
            offset = int((await delivery).offset)
        except (ValueError, MessageSizeTooLargeError) as exc:
            raise self._too_large(str(exc)) from exc
        if offset < 0:
            # A retry of a batch that Kafka has, but remembers too little of to say where.
            raise RuntimeError(f"{topic}/{number}: Kafka confirmed a commit without its offset")
        return offset

    async def start(self) -> int:
        """Return the offset of the oldest record that is still there."""
        consumer = self._consumer()
        await consumer.start()
        try:
            return int((await consumer.beginning_offsets([self._partition]))[self._partition])
        finally:
            await consumer.stop()

    async def read(self, start: int, end: int) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Yield the records from `start` up to, not including, `end`, in order.

        Raises:
            TimeoutError: Kafka does not deliver what it has.
        """
        if start >= end:
            return
        partition, consumer = self._partition, self._consumer()
        consumer.assign([partition])
        await consumer.start()
        try:
            consumer.seek(partition, start)
            # By position, not by the last record's offset: compaction leaves gaps, at the end too.
            while (before := await consumer.position(partition)) < end:
                fetched = await consumer.getmany(partition, timeout_ms=int(READ_SECONDS * 1000))
                records = [record for record in fetched.get(partition, ()) if record.offset < end]
                if records:
                    yield records
                elif await consumer.position(partition) == before:
                    raise TimeoutError(
                        f"{partition}: nothing came from offset {before} for {READ_SECONDS:.0f} s"
                    )
        finally:
            await consumer.stop()

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=4 << 20,
        )
