"""Fetching: one Faust message for a whole chunk of a partition, and commits of exactly what is done."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from app.engine.assignor import Assignor
from app.engine.engine import Engine, engine_of
from app.engine.peers import now
from app.engine.source import ConsumerRecord

FETCH_WAIT_MS = 200


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
                pass  # who fetches nothing would have to leave the group
            sent = now()
            known: bool = await beat()
            self._renew(sent, known)
            return known

        coordinator._do_heartbeat = renew

    def _renew(self, sent: float, known: bool) -> None:
        """Renew the lease after a heartbeat that was sent at `sent`, if the group knows this worker."""
        conf = self.app.conf
        if known and not self._ensure_consumer()._coordinator._rejoin_needed_fut.done():
            seconds = min(conf.broker_session_timeout, conf.broker_rebalance_timeout)
            engine_of(self.app).lease.renew(sent, seconds)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take the assigned partitions over."""
        # The first heartbeat of its own comes when this has returned, and a while later.
        self._beating = asyncio.create_task(self._beat())
        sources = (driver.ensure_aiokafka_TP(tp) for tp in assigned if tp.topic in self._sources)
        self._ensure_consumer().pause(*sources)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _beat(self) -> None:
        # Not as the coordinator does it: the answer may come when that joins again, and would undo it.
        coordinator, sent = self._ensure_consumer()._coordinator, now()
        request = HeartbeatRequest(coordinator.group_id, coordinator.generation, coordinator.member_id)
        node, group = coordinator.coordinator_id, ConnectionGroup.COORDINATION
        with suppress(KafkaError):  # the next one tells
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


class ReadOffsets(dict[TP, Any]):
    """Faust's notes of what it has read, without those of batched topics.

    With them it would drop what wakes an agent after a partition has moved back, as already read.
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
    """Faust's consumer; for topics with a `Source` it wakes their agents, and commits what their engine says.

    Completion is told by the engine, never by Faust's acks: those arrive for a batch that has failed too,
    and after a rebalance for its successor.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.engine = engine_of(self.app)
        self._read_offset = ReadOffsets(self.engine)
        # What the thread has been asked for, and the group's generation then.
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
                    await self.engine.turns.called.wait()
            self.engine.turns.called.clear()
            return {}
        generation = self.app.consumer_generation_id
        if self._asked is None:
            # It goes on while agents are woken: one to the thread that is given up may have brought records.
            self._asked = generation, asyncio.create_task(super()._getmany(ordinary, timeout))
        since, records = self._asked
        called = asyncio.create_task(self.engine.turns.called.wait())
        await asyncio.wait([records, called], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        called.cancel()
        self.engine.turns.called.clear()
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
        for tp in self.engine.turns.wake():
            yield tp, _message(tp, self.engine.partitions[tp].accepted, generation)

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
        finally:  # a commit that fails is no loss: the state knows its position
            await super().on_partitions_revoked(revoked)
            await self.engine.release()

    async def on_partitions_assigned(self, assigned: Iterable[TP], generation_id: int = 0) -> None:
        """Take the assigned partitions over."""
        await super().on_partitions_assigned(assigned, generation_id)
        if not self.app.should_stop:
            await self.engine.assign(assigned)

    async def on_stop(self) -> None:
        """Finish what is under way, commit it, and release the state."""
        await self.engine.drain()
        await self.engine.forward.stop()
        await self.engine.fetching.stop()
        if self._asked is not None:
            self._asked[1].cancel()
        await super().on_stop()
        await self.engine.release()
        await self.engine.standbys.close()
        await self.engine.references.close()


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
