"""Fetching: one Faust message for a whole chunk of a partition, and commits of exactly what is done."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, KafkaError
from aiokafka.protocol.group import HeartbeatRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from app.engine.assignor import Assignor
from app.engine.batch import Chunk
from app.engine.engine import Engine, engine_of
from app.engine.fetch import take
from app.engine.peers import now
from app.engine.source import ConsumerRecord

FETCH_WAIT_MS = 200
FULL_WAIT_SECONDS = 0.01
# Polls are at least so far apart: a batch costs about a millisecond however small it is.
POLL_SECONDS = 0.005


class Fetched(list[ConsumerRecord]):
    """Records of one partition, and the tag of the fetch position that they come from."""

    tag = 0


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's fetch thread, able to move back safely.

    Each move of a partition gives what is fetched from then on a new tag. Both happen in this thread and
    without a pause between, so that records from before a move can never be taken for later ones.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tags: dict[TP, int] = defaultdict(int)
        self._beating: asyncio.Task[None] | None = None

    async def on_start(self) -> None:
        """Start the consumer, and take note of its heartbeats."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def renew() -> bool:
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

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 (Faust's signature)
        max_records: int | None = None,
    ) -> Mapping[TP, list[ConsumerRecord]]:
        assert timeout is not None  # Faust gives both
        assert max_records is not None
        fetcher = consumer._fetcher
        if not self.consumer.flow_active:
            return {}
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():
            if fetcher._subscriptions.reassignment_in_progress:
                await fetcher._subscriptions.wait_for_assignment()
            records = await self._in_turn(fetcher, active_partitions, max_records)
            if not records and await _arrival(fetcher, timeout):
                records = await self._in_turn(fetcher, active_partitions, max_records)
        sources = self._sources
        found: dict[TP, list[ConsumerRecord]] = {}
        for tp, part in records.items():
            if tp.topic in sources:
                fetched = found[TP(*tp)] = Fetched(part)
                fetched.tag = self._tags[TP(*tp)]
            else:
                found[TP(*tp)] = part
        return found

    async def _in_turn(
        self, fetcher: Any, active: set[TP], max_records: int
    ) -> dict[TP, list[ConsumerRecord]]:
        """Return records that are here already, of each partition in its turn.

        aiokafka gives all that it has of one partition before it comes to the next: under a backlog the
        others would stand still for a minute.
        """
        found: dict[TP, list[ConsumerRecord]] = {}
        for tp in list(fetcher._records):
            if tp not in active:
                if not fetcher._subscriptions.is_assigned(tp):
                    del fetcher._records[tp]
                continue
            result = fetcher._records[tp]
            if tp.topic in self._sources and isinstance(result, FetchResult):
                try:
                    records = take(result, max_records)
                finally:
                    if not result.has_more():
                        del fetcher._records[tp]
                        fetcher._notify(fetcher._wait_consume_future)
                if records:
                    found[tp] = records
            elif not found:  # it may raise an error: what was taken before must not be lost by it
                found.update(await fetcher.fetched_records([tp], timeout=0, max_records=max_records))
            if tp in fetcher._records:
                fetcher._records.move_to_end(tp)
            if sum(map(len, found.values())) >= max_records:
                break
        return found

    async def rewind(self, tp: TP, offset: int | None) -> tuple[int, int]:
        """Fetch a partition from an offset on; see `Engine.rewind`."""
        return await self.call_thread(self._rewind, tp, offset)  # type: ignore[no-any-return] # Faust has no types

    async def _rewind(self, tp: TP, offset: int | None) -> tuple[int, int]:
        consumer = self._ensure_consumer()
        partition = driver.ensure_aiokafka_TP(tp)
        if offset is None:
            offset = await consumer.committed(partition)
        if offset is None:
            reset = self.app.conf.consumer_auto_offset_reset
            ask = consumer.beginning_offsets if reset == "earliest" else consumer.end_offsets
            offset = (await ask([partition]))[partition]
        consumer.seek(partition, offset)
        self._tags[tp] += 1
        return offset, self._tags[tp]

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Move the ordinary partitions only: the engine moves its own."""
        return await self.call_thread(self._seek_ordinary)  # type: ignore[no-any-return] # Faust has no types

    async def _seek_ordinary(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        ordinary = [tp for tp in consumer.assignment() if tp.topic not in self._sources]
        return await consumer.seek_to_committed(*ordinary) if ordinary else {}


class ReadOffsets(dict[TP, Any]):
    """Faust's notes of what it has read, without those of batched topics.

    With them it would drop a chunk that is fetched again, as already read.
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
    """Faust's consumer; for topics with a `Source` it yields chunks, and commits what their engine says.

    Completion is told by the engine, never by Faust's acks: those arrive for a batch that has failed too,
    and after a rebalance for its successor.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.engine = engine_of(self.app)
        self._read_offset = ReadOffsets(self.engine)
        self._polled = 0.0

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def rewind(self, tp: TP, offset: int | None) -> tuple[int, int]:
        """Fetch a partition from an offset on; see `Engine.rewind`."""
        return await self._thread.rewind(tp, offset)  # type: ignore[no-any-return] # Faust has no types

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, Any]:  # noqa: ASYNC109 (Faust's signature)
        await asyncio.sleep(self._polled + POLL_SECONDS - time.monotonic())
        self._polled = time.monotonic()
        active = active_partitions or ()
        wanted = {tp for tp in active if not self.engine.full(tp)}
        if not wanted:
            # aiokafka takes no partitions for all of them.
            self.engine.room.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.engine.room.wait(), timeout)
            return {}
        if len(wanted) < len(active):
            timeout = FULL_WAIT_SECONDS  # a full partition soon has room, and must not wait for the idle ones
        return await super()._getmany(wanted, timeout)  # type: ignore[no-any-return] # Faust has no types

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 (as above)
        """Yield a message for each chunk of a batched topic, and for each record of another."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        ordinary = {tp: part for tp, part in records.items() if not isinstance(part, Fetched)}
        for tp, message in [*self._chunks(records), *self._ordinary(ordinary, active)]:
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # a rebalance: whatever is ours afterwards is fetched again
            yield tp, message

    def _chunks(self, records: Mapping[TP, Any]) -> Iterator[tuple[TP, ConsumerMessage]]:
        generation = self.app.consumer_generation_id
        for tp, part in records.items():
            partition = self.engine.partitions.get(tp)
            if partition is None or not isinstance(part, Fetched):
                continue
            for i in range(0, len(part), partition.limit):
                chunk = partition.chunk(part[i : i + partition.limit], part.tag)
                yield tp, _message(tp, chunk, generation)
        for tp, chunk in self.engine.due():
            yield tp, _message(tp, chunk, generation)

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
        await super().on_stop()
        await self.engine.release()
        await self.engine.standbys.close()
        await self.engine.references.close()


async def _arrival(fetcher: Any, seconds: float) -> bool:
    """Wait until records have come, and return whether any have.

    Raises:
        KafkaError: none may be fetched.
    """
    waiter = fetcher._create_fetch_waiter()
    done, _ = await asyncio.wait([waiter], timeout=seconds)
    if not done:
        waiter.cancel()
        return False
    waiter.result()
    return not fetcher._closed


def _message(tp: TP, chunk: Chunk, generation: int) -> ConsumerMessage:
    # A chunk without records moves the watermark.
    last = chunk.records[-1] if chunk.records else None
    return ConsumerMessage(
        tp.topic,
        tp.partition,
        chunk.partition.accepted if last is None else last.offset,
        time.time() if last is None else last.timestamp / 1000,
        0 if last is None else last.timestamp_type,
        (),
        None,
        chunk,
        None,
        tp=tp,
        generation_id=generation,
    )
