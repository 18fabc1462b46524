"""Real consumers of both kinds, without a Kafka: what they commit is written down."""

from collections.abc import Callable, Iterable
from inspect import signature
from types import SimpleNamespace
from typing import Any, cast

import faust
from aiokafka.structs import ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from millstream.engine.consumer import Consumer
from millstream.engine.engine import Engine
from millstream.engine.topology import Topology
from millstream.engine.transport import Transport

T = TP("t", 0)
GENERATION = 7


class Partition:
    """A partition whose agent is done with all before the offset `committed`."""

    def __init__(self, committed: int) -> None:
        self.committed = committed
        self.cursor = SimpleNamespace(accepted=0)
        self.fetched: list[ConsumerRecord] = []

    @property
    def has_work(self) -> bool:
        """Whether something was fetched; the agent takes it when it is woken."""
        records, self.fetched = self.fetched, []
        return bool(records)

    async def drain(self, seconds: float) -> None:
        """Nothing is under way."""

    async def close(self) -> None:
        """There is nothing to close."""


async def nothing(*_: Any) -> None:
    """Do nothing."""


class Consuming:
    """A consumer of partition 0 of the topic `t`.

    Attributes:
        committed: what it has committed, in order.
    """

    def __init__(self, app: Any, consumer: Any) -> None:
        self.app = app
        self.consumer = consumer
        self.committed: list[int] = []
        app.consumer = consumer
        app.consumer_generation_id = GENERATION
        app.topics.acks_enabled_for = lambda topic: True
        consumer.assignment = lambda: {T}
        consumer._commit_offsets = self._commit_offsets
        consumer._set_active_tps({T})

    def __enter__(self) -> "Consuming":
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer._thread.thread_loop.close()

    async def _commit_offsets(self, offsets: dict[TP, int], **_: Any) -> bool:
        self.committed.append(offsets[T])
        self.consumer._committed_offset.update(offsets)
        return True

    def fetch(self, batches: Iterable[list[ConsumerRecord]]) -> None:
        """Have Kafka give these batches of records, one after the other, and then stop."""
        coming = iter(batches)

        async def wait_next_records(_: float) -> Any:
            records = next(coming, [])
            if not records:
                self.consumer._stopped.set()
            elif isinstance(self.consumer, Consumer):
                cast(Any, self.consumer.engine.partitions[T]).fetched = records
                return {}, {T}
            return {T: records}, {T}

        self.consumer._wait_next_records = wait_next_records

    def ack(self, *offsets: int) -> None:
        for offset in offsets:
            self.consumer.ack(message(offset))


def plain(done: int) -> Consuming:
    """Return plain Faust's consumer; what is done, it knows from acks only."""
    return _consuming(faust.App("plain", broker="kafka://127.0.0.1:1"), driver.Consumer)


def millstream(done: int) -> Consuming:
    """Return Millstream's consumer; its engine says that all before the offset `done` is done."""
    app = faust.App("millstream", broker="kafka://127.0.0.1:1")
    # What the consumer uses of the engine needs neither state nor limits.
    parameters = signature(Engine).parameters.values()
    limits = [given.name for given in parameters if given.kind is given.KEYWORD_ONLY]
    limits.remove("clock")
    topology, storage = Topology(sources={"t": cast(Any, None)}), cast(Any, SimpleNamespace(log_topic=str))
    engine = Engine(app, topology, storage, **dict.fromkeys(limits, cast(Any, 1)))
    engine.partitions[T] = cast(Any, Partition(done))
    app.engine = engine
    app.transport = Transport(app.conf.broker, app)
    return _consuming(app, Consumer)


def _consuming(app: Any, kind: type[Any]) -> Consuming:
    async def revoked(_: Any) -> None:
        await consumer.commit()  # as the app does, when all streams are empty

    consumer = kind(app.transport, nothing, revoked, nothing)
    return Consuming(app, consumer)


Kind = Callable[[int], Consuming]


def message(offset: int, generation: int = GENERATION) -> ConsumerMessage:
    return ConsumerMessage("t", 0, offset, 0.0, 0, (), None, b"", None, tp=T, generation_id=generation)


def fetched(*offsets: int) -> list[ConsumerRecord]:
    """Return records as a fetch returns them."""
    return [ConsumerRecord("t", 0, n, 0, 0, None, b"", None, 0, 0, ()) for n in offsets]
