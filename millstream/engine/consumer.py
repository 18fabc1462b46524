"""Faust's consumer, driven by the engine: a message wakes an agent; finished batches are committed."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import InconsistentGroupProtocolError, KafkaError
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from millstream.engine.engine import Engine, engine_of
from millstream.kafka.assignor import Assignor
from millstream.kafka.group import now
from millstream.kafka.records import ConsumerRecord

logger = logging.getLogger(__name__)

FETCH_WAIT_MS = 200
REJOIN_SECONDS = 0.5
# A pattern that no topic's name matches.
NO_TOPIC = "^ $"


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: a member of the group, that fetches the ordinary topics only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._beating: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        """Start the consumer, and take note of its heartbeats."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def renew() -> bool:
            with coordinator._subscription.fetch_context():
                pass  # a member that fetches nothing would have to leave the group
            sent = now()
            known: bool = await beat()
            self._renew(sent, known)
            return known

        coordinator._do_heartbeat = renew
        coordinator._do_rejoin_group = partial(_rejoin, coordinator._do_rejoin_group)

    def _renew(self, sent: float, known: bool) -> None:
        """Renew the lease after a heartbeat that was sent at `sent`, if the group knows this worker."""
        conf = self.app.conf
        if known and not self._ensure_consumer()._coordinator._rejoin_needed_fut.done():
            seconds = min(conf.broker_session_timeout, conf.broker_rebalance_timeout)
            engine_of(self.app).lease.renew(sent, seconds)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take the assigned partitions over."""
        # The coordinator sends its first heartbeat only a while after this has returned.
        self._beating = asyncio.create_task(self._beat())
        sources = (driver.ensure_aiokafka_TP(tp) for tp in assigned if tp.topic in self._sources)
        self._ensure_consumer().pause(*sources)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _beat(self) -> None:
        # Not through the coordinator: the answer may come while it joins again, and would undo that.
        coordinator, sent = self._ensure_consumer()._coordinator, now()
        request = HeartbeatRequest(coordinator.group_id, coordinator.generation, coordinator.member_id)
        node, group = coordinator.coordinator_id, ConnectionGroup.COORDINATION
        with suppress(KafkaError):  # the next heartbeat renews the lease
            answer = await coordinator._client.send(node, request, group=group)
            self._renew(sent, answer.error_code == 0)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Kafka answers the requests of a connection in turn: whatever else we ask it (offsets, when a
        # partition is taken over) waits until an idle fetch is answered. Faust lets that wait for 1.5 s.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        if self._assignor is RoundRobinPartitionAssignor:  # Faust needs its own where it has tables
            consumer._partition_assignment_strategy = (Assignor.of(engine_of(self.app)),)
        return consumer

    @property
    def _sources(self) -> Any:
        return engine_of(self.app).sources

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Subscribe to topics. Without any, as without agents, the worker is a member that owns nothing."""
        if names := list(topics):
            await super().subscribe(names)
        else:
            await self.call_thread(self._subscribe_to_nothing)

    async def _subscribe_to_nothing(self) -> None:
        self._ensure_consumer().subscribe(pattern=NO_TOPIC, listener=self._rebalance_listener)

    async def start_of(self, tp: TP) -> int:
        """Return where the group has committed a partition, or where it is to begin without that."""
        return await self.call_thread(self._start_of, tp)  # type: ignore[no-any-return] # Faust has no types

    async def _start_of(self, tp: TP) -> int:
        consumer, partition = self._ensure_consumer(), driver.ensure_aiokafka_TP(tp)
        offset: int | None = await consumer.committed(partition)
        if offset is None:
            reset = self.app.conf.consumer_auto_offset_reset
            ask = consumer.beginning_offsets if reset == "earliest" else consumer.end_offsets
            offset = (await ask([partition]))[partition]
        return offset

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Move the ordinary partitions only: the engine moves its own."""
        return await self.call_thread(self._seek_ordinary)  # type: ignore[no-any-return] # Faust has no types

    async def _seek_ordinary(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        ordinary = [tp for tp in consumer.assignment() if tp.topic not in self._sources]
        return await consumer.seek_to_committed(*ordinary) if ordinary else {}


async def _rejoin(rejoin: Callable[[Any], Awaitable[bool]], subscription: Any) -> bool:
    """Join the group; return whether that has succeeded.

    aiokafka gives up for good while the group has members with another assignor. These may be workers of an
    older version that have just stopped: the group forgets them after the session time-out.
    """
    try:
        return await rejoin(subscription)
    except InconsistentGroupProtocolError:
        logger.warning(
            "the consumer group has members with another assignor: workers of another version, or another "
            "program with this group's name. Joining is tried again until they have left"
        )
        await asyncio.sleep(REJOIN_SECONDS)
        return False


class ReadOffsets(dict[TP, Any]):
    """The offsets that Faust has read, without those of source topics.

    With them it would drop the message that wakes an agent after a partition has moved back, as already read.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def __missing__(self, tp: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: Any) -> None:
        if tp.topic not in self._engine.sources:
            super().__setitem__(tp, offset)


class Consumer(driver.Consumer):
    """Faust's consumer. For source topics it wakes the agents, and commits the offsets that the engine gives.

    The engine decides what is complete, never Faust's acks: they also arrive for a batch that has failed,
    and after a rebalance for its successor.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.engine = engine_of(self.app)
        self._read_offset = ReadOffsets(self.engine)
        # The pending request to the thread, and the group's generation at its time.
        self._asked: tuple[int, asyncio.Task[Mapping[TP, Any]]] | None = None

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def start_of(self, tp: TP) -> int:
        """Return from where on a partition without a state is read; see `Engine.start_of`."""
        return await self._thread.start_of(tp)  # type: ignore[no-any-return] # Faust has no types

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, Any]:  # noqa: ASYNC109 (Faust's signature)
        ordinary = {tp for tp in active_partitions or () if tp.topic not in self.engine.sources}
        if not ordinary and self._asked is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self.engine.scheduler.notified.wait()
            self.engine.scheduler.notified.clear()
            return {}
        generation = self.app.consumer_generation_id
        if self._asked is None:
            # It goes on while agents are woken: one to the thread that is given up may have brought records.
            self._asked = generation, asyncio.create_task(super()._getmany(ordinary, timeout))
        since, records = self._asked
        called = asyncio.create_task(self.engine.scheduler.notified.wait())
        await asyncio.wait([records, called], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        called.cancel()
        self.engine.scheduler.notified.clear()
        if not records.done():
            return {}
        self._asked = None
        found = records.result()
        return found if since == generation else {}  # after a rebalance they are fetched again

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 (as above)
        """Yield a message for each batched topic with something to do, and for each record of another."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        for tp, message in [*self._wake(), *self._ordinary(records, active)]:
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # a rebalance: whatever is ours afterwards is fetched again
            yield tp, message

    def _wake(self) -> Iterator[tuple[TP, ConsumerMessage]]:
        generation = self.app.consumer_generation_id
        for tp in self.engine.scheduler.wake():
            yield tp, _message(tp, self.engine.partitions[tp].cursor.accepted, generation)

    def _ordinary(
        self, records: Mapping[TP, list[ConsumerRecord]], active: set[TP] | None
    ) -> Iterator[tuple[TP, ConsumerMessage]]:
        for tp, record in self.scheduler.iterate(records):
            if active is None or tp in active or tp in self._buffered_partitions:
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                yield tp, self._to_message(tp, record)

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        ordinary = (tp for tp in self._acked if tp.topic not in self.engine.sources)
        for tp in [*ordinary, *self.engine.partitions]:
            if topics is None or tp in topics or tp.topic in topics:
                yield tp

    def _new_offset(self, tp: TP) -> int | None:
        if tp.topic not in self.engine.sources:
            return super()._new_offset(tp)  # type: ignore[no-any-return] # Faust has no types
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.engine.committed(tp)

    async def on_partitions_revoked(self, revoked: Iterable[TP]) -> None:
        """Finish what is under way and commit it: Faust itself throws that away."""
        await self.engine.drain()
        try:
            await self.commit()
        finally:  # a failed commit loses nothing: the state knows its position
            await super().on_partitions_revoked(revoked)
            await self.engine.release()

    async def on_partitions_assigned(self, assigned: Iterable[TP], generation_id: int = 0) -> None:
        """Take the assigned partitions over."""
        await super().on_partitions_assigned(assigned, generation_id)
        if not self.app.should_stop:
            await self.engine.assign(assigned)

    async def on_stop(self) -> None:
        """Finish what is under way, commit it, and release the state."""
        await self.engine.stop()
        if self._asked is not None:
            self._asked[1].cancel()
        await super().on_stop()
        await self.engine.close()


def _message(tp: TP, offset: int, generation: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        offset,
        time.time(),
        0,
        (),
        None,
        b"",
        None,
        tp=tp,
        generation_id=generation,
    )
