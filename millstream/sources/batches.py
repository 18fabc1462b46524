"""Record batches that are sent to the partitions of a topic."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from millstream.kafka.partitioner import partition_for
from millstream.sources.record import Record

# Time limit without a confirmation from Kafka; an election or a restart of a broker takes less.
CONFIRM_SECONDS = 30.0
# Uncompressed size of a batch; below the 1 MB that a broker accepts by default, even if nothing compresses.
BATCH_BYTES = 512 * 1024


class SendError(Exception):
    """Kafka did not accept the records.

    Attributes:
        confirmed: number of records that Kafka has confirmed; the others may or may not be stored.
    """

    def __init__(self, text: str, confirmed: int = 0) -> None:
        super().__init__(text)
        self.confirmed = confirmed


class Batches:
    """One open batch per partition, and the batches in flight.

    aiokafka keeps one batch per partition in flight, so records keep their order. `add` waits while the
    partition's previous batch is in flight, which bounds the memory.

    Args:
        producer: a started producer, with `max_batch_size` of `BATCH_BYTES`.
        topic: the target topic.
        partitions: all partitions of the topic, ascending.

    Attributes:
        confirmed: number of records that Kafka has confirmed.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: list[int]) -> None:
        self._producer, self._topic, self._partitions = producer, topic, partitions
        self._open = {partition: producer.create_batch() for partition in partitions}
        self._underway: dict[asyncio.Future[object], int] = {}
        self._keyless = 0
        self.confirmed = 0

    async def add(self, record: Record) -> None:
        """Add a record to its partition's batch; a full batch is sent first.

        Raises:
            SendError: Kafka rejects a batch, or has confirmed none for `CONFIRM_SECONDS`.
        """
        if record.key is None:
            self._keyless += 1
            partition = self._partitions[self._keyless % len(self._partitions)]
        else:
            partition = self._partitions[partition_for(record.key, len(self._partitions))]
        # The event time is not used as timestamp: the broker's retention would delete old events at once.
        if self._open[partition].append(timestamp=None, key=record.key, value=record.value) is None:
            await self._submit(partition)
            self._open[partition].append(timestamp=None, key=record.key, value=record.value)

    async def flush(self) -> None:
        """Send all batches that have records.

        Raises:
            SendError: as in `add`.
        """
        for partition in self._partitions:
            if self._open[partition].record_count():
                await self._submit(partition)

    async def confirm(self) -> None:
        """Send all batches, and wait for their confirmation.

        Raises:
            SendError: as in `add`.
        """
        await self.flush()
        while self._underway:
            done, _ = await asyncio.wait(
                self._underway, timeout=CONFIRM_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise self._silence()
            self._settle()

    async def _submit(self, partition: int) -> None:
        self._settle()
        batch = self._open[partition]
        self._open[partition] = self._producer.create_batch()
        batch.close()
        try:
            future = await self._producer.send_batch(batch, self._topic, partition=partition)
        except KafkaTimeoutError:
            raise self._silence() from None
        except KafkaError as exc:
            raise self._failure(exc) from exc
        # After the first failure the others are not awaited, and asyncio would log each exception.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._underway[future] = batch.record_count()

    def _settle(self) -> None:
        for future in [future for future in self._underway if future.done()]:
            records = self._underway.pop(future)
            error = future.exception()
            if error is not None:
                raise self._failure(error) from error
            self.confirmed += records

    def _silence(self) -> SendError:
        return SendError(
            f"Kafka has confirmed nothing for {CONFIRM_SECONDS:.0f} s ({self.confirmed:,} records before)",
            self.confirmed,
        )

    def _failure(self, error: BaseException) -> SendError:
        hint = ""
        if isinstance(error, MessageSizeTooLargeError):
            hint = " Raise max.message.bytes of the topic, or take the largest lines out."
        return SendError(
            f"Kafka refused a batch for {self._topic}, after {self.confirmed:,} records: {error}{hint}",
            self.confirmed,
        )
