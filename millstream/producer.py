"""A producer of one topic's Records, for services in Python that send events."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, NamedTuple, Self, TypeVar

import faust
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from millstream.checks import check_key, check_topic_name
from millstream.kafka.local import bootstrap
from millstream.records import Invalid
from millstream.serde.json import Decoder, encode
from millstream.settings import settings

R = TypeVar("R", bound=faust.Record)

# How long records may wait for others: a batch of them costs Kafka little more than one record.
LINGER_MILLISECONDS = 5
BATCH_BYTES = 256 * 1024
CONFIRM_SECONDS = 30.0


class Delivery(NamedTuple):
    """Where Kafka has put a record that it has confirmed."""

    topic: str
    partition: int
    offset: int


class InvalidValueError(ValueError):
    """A value is not valid for the topic's Record, and would become a dead letter. It was not sent."""


class DeliveryError(Exception):
    """Kafka has not confirmed a record; it may be in the topic or not. Where it has an id, send it again."""


Done = Callable[["Delivery | DeliveryError"], None]


class Producer(Generic[R]):
    """Sends the Records of one topic: validated, keyed as its readers expect, confirmed by all replicas.

    async with Producer("orders.raw", Order, key="customer_id") as producer:
        delivery = await producer.send(order)

    Records of one key keep their order. A connection that fails is retried, without repeats.

    Args:
        topic: the topic's name in Kafka.
        record: the Record that its values are.
        key: the Record's field that is the key.
        bootstrap_servers: Kafka's addresses, host:port with commas; None for KAFKA_BOOTSTRAP_SERVERS, else
            the local Kafka.
        max_bytes: size limit of a value; None for MILLSTREAM_MAX_EVENT_BYTES.

    Raises:
        DeclarationError: the name is not allowed, or the key's field is not there or no text.
    """

    def __init__(
        self,
        topic: str,
        record: type[R],
        *,
        key: str,
        bootstrap_servers: str | None = None,
        max_bytes: int | None = None,
    ) -> None:
        check_topic_name(topic)
        check_key(record, key)
        limit = settings().max_event_bytes if max_bytes is None else max_bytes
        self._topic = topic
        self._key = key
        self._servers = bootstrap_servers
        self._decoder = Decoder(record, max_bytes=limit, max_future=timedelta.max, time_field=None)
        self._producer: AIOKafkaProducer | None = None
        self._underway: set[asyncio.Future[Any]] = set()
        self._failures: list[DeliveryError] = []

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            KafkaUnavailable: there is no Kafka; the text says what to do.
            KafkaConnectionError: it does not answer.
        """
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers or bootstrap(settings()),
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            linger_ms=LINGER_MILLISECONDS,
            max_batch_size=BATCH_BYTES,
            max_request_size=max(2 * BATCH_BYTES, self._decoder.max_bytes + 10_000),
            request_timeout_ms=int(CONFIRM_SECONDS * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        """Wait until all records are confirmed or have failed, and disconnect.

        Raises:
            DeliveryError: as `flush`, unless the block has raised something else.
        """
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
        if kind is None:
            await self.flush()

    async def send(self, value: R | dict[str, Any]) -> Delivery:
        """Send a value, and wait until Kafka has confirmed it.

        Args:
            value: a Record, its twin, or a dictionary of its fields.

        Raises:
            InvalidValueError: it is not valid; it was not sent.
            DeliveryError: Kafka has not confirmed it.
        """
        return await self._confirmed(await self._post(*self._checked(value)))

    async def send_many(self, values: Iterable[R | dict[str, Any]]) -> list[Delivery]:
        """Send values in their order, in batches, and wait until Kafka has confirmed all of them.

        Raises:
            InvalidValueError: one is not valid; none was sent.
            DeliveryError: Kafka has not confirmed all of them.
        """
        checked = [self._checked(value) for value in values]
        posted = [await self._post(*one) for one in checked]
        await asyncio.wait(posted) if posted else None
        return [await self._confirmed(one) for one in posted]

    async def post(self, value: R | dict[str, Any], done: Done | None = None) -> None:
        """Send a value, and do not wait for the confirmation. It waits while Kafka is slower than the caller.

        Args:
            value: as for `send`.
            done: called with the delivery, or the error; without it, `flush` or the end of the block raises
                the error.

        Raises:
            InvalidValueError: it is not valid; it was not sent.
        """
        posted = await self._post(*self._checked(value))

        def settle(future: asyncio.Future[Any]) -> None:
            self._underway.discard(future)
            result = _result(future)
            if done is not None:
                done(result)
            elif isinstance(result, DeliveryError):
                self._failures.append(result)

        self._underway.add(posted)
        posted.add_done_callback(settle)

    async def flush(self) -> None:
        """Wait until everything that was posted is confirmed or has failed.

        Raises:
            DeliveryError: Kafka has not confirmed all that was posted without a callback; the first failure.
        """
        while self._underway:
            await asyncio.wait(self._underway)
        failures, self._failures = self._failures, []
        if failures:
            raise failures[0]

    def _checked(self, value: R | dict[str, Any]) -> tuple[bytes, bytes]:
        """Return key and bytes of a value."""
        try:
            raw = encode(value)
        except (NotImplementedError, TypeError) as exc:
            raise InvalidValueError(str(exc)) from None
        try:
            event = self._decoder.one(raw, 0)
        except Invalid as exc:
            name = self._decoder.record.__name__
            raise InvalidValueError(f"this is no {name} ({exc.code}): {exc.reason}") from None
        return str(getattr(event, self._key)).encode(), raw

    async def _post(self, key: bytes, value: bytes) -> asyncio.Future[Any]:
        if self._producer is None:
            raise RuntimeError("the producer is not connected: `async with Producer(…) as producer`")
        try:
            posted: asyncio.Future[Any] = await self._producer.send(self._topic, value, key=key)
        except KafkaError as exc:
            raise DeliveryError(f"{self._topic}: {exc!r}") from exc
        return posted

    async def _confirmed(self, posted: asyncio.Future[Any]) -> Delivery:
        await asyncio.wait((posted,))
        result = _result(posted)
        if isinstance(result, DeliveryError):
            raise result
        return result


def _result(posted: asyncio.Future[Any]) -> Delivery | DeliveryError:
    if posted.cancelled():
        return DeliveryError("the producer was closed before Kafka had confirmed the record")
    failure = posted.exception()
    if failure is not None:
        error = DeliveryError(f"Kafka has not confirmed the record: {failure!r}")
        error.__cause__ = failure
        return error
    found = posted.result()
    return Delivery(found.topic, found.partition, found.offset)
