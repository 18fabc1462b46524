"""Partitions of numbers, without the rest of a worker."""

import time
from pathlib import Path
from typing import Any, cast

from aiokafka.structs import TopicPartition

from millstream.engine.counters import Counters
from millstream.engine.error_policy import DeadLetterLimit, ErrorPolicy
from millstream.engine.partition import Partition, Services
from millstream.engine.reference_copies import References
from millstream.engine.reference_view import ReferenceTimings
from millstream.engine.source import Source
from millstream.engine.ticks import Ticks
from millstream.engine.tracing import NoTracer
from millstream.kafka.producer import CoalescingProducer
from millstream.state.state import State
from millstream.state.store import Store
from millstream.testing.memory_kafka import MemoryKafka
from tests.framework.memory_log import MemoryLog


class Nowhere:
    """A source that is not looked at: the partitions are at work already."""

    async def begin(self, source: TopicPartition, state: State) -> int | None:
        raise NotImplementedError

    async def end(self, source: TopicPartition) -> int:
        raise NotImplementedError

    async def start_of(self, topic: str, number: int) -> int:
        raise NotImplementedError


def services(producer: MemoryKafka) -> Services:
    """Return what partitions share that send to a producer, and are at work already."""
    given = cast(Any, producer)
    unused: Any = None
    return Services(
        open_state=unused,
        offsets=Nowhere(),
        producer=lambda: given,
        coalescing=CoalescingProducer(lambda: given),
        copartitioned=(),
        references=References(str, time.time),
        reference_timings=ReferenceTimings(),
        dead_letter_limit=DeadLetterLimit(),
        restore_seconds=60.0,
        tick=Ticks(0.0).wait,
        clock=time.time,
        tracer=NoTracer,
        stop_worker=unused,
        sleep=unused,
        session_seconds=unused,
        wake=lambda topic: None,
        restored=unused,
    )


def partition(shared: Services, log: MemoryLog, path: Path, number: int = 0) -> Partition:
    """Make a partition of the topic `numbers` that is at work."""
    source = Source(
        topic="numbers",
        record=int,
        key="",
        dead_letters="dead",
        event_time=float,
        time_field="",
        decode=lambda records, _: [int(record.value or 0) for record in records],
    )
    made = Partition(shared, source, number, limit=100, policy=ErrorPolicy(), counters=Counters())
    made.cursor.state = State(log, Store(path), [])
    made.cursor.generation = 0
    return made
