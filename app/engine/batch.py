"""What an agent works with: a batch of events of one partition, and its commit."""

import operator
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app.engine.out import ORIGIN, REPLAY_OF, Out
from app.engine.source import ConsumerRecord
from app.engine.trouble import Sorted
from app.engine.upstream import Told, read

if TYPE_CHECKING:
    from app.engine.partition import Partition

__all__ = ["Batch", "Batches", "Chunk", "Out"]

E = TypeVar("E")

_headers = operator.attrgetter("headers")


class Chunk:
    """Records of one partition that are processed together.

    Attributes:
        records: the records; None until they are taken.
        tag: number of the fetch position's last move; records fetched before it are not wanted any more.
        retry: whether these are events that have waited to be tried again.
        watermark: where a chunk without records moves the watermark; None for one with records.
    """

    __slots__ = ("partition", "records", "retry", "tag", "watermark")

    def __init__(
        self,
        partition: "Partition",
        records: Sequence[ConsumerRecord] | None,
        tag: int,
        *,
        retry: bool = False,
    ) -> None:
        self.retry = retry
        self.watermark: float | None = None
        self.partition = partition
        self.records = records
        self.tag = tag


class Batch(Generic[E]):
    """Valid events of one partition, in the order of their offsets.

    The events are known once `commit()` is entered: what is invalid has become a dead letter by then,
    and what the state holds already has been left out.

    Attributes:
        events: the events.
        offsets: their offsets.
        origins: as `offsets`; for an event that was sent again by a replay, its first offset.
        watermarks: for each event the watermark, seconds since the epoch: the largest event time up to and
            with it less the source's out-of-orderness, or what `app.engine.upstream` says.
    """

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._out: Out | None = None
        self.events: list[E] = []
        self.offsets: list[int] = []
        self.origins: list[int] = []
        self.watermarks: list[float] = []
        self._records: Sequence[ConsumerRecord] = []
        self._at_one = False

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[E]:
        return self.pick(range(len(self.events)))

    def pick(self, indices: Iterable[int]) -> Iterator[E]:
        """Yield the events with these indices."""
        out, events = self._out, self.events
        assert out is not None, "events are known inside of `async with batch.commit()`"
        self._at_one = True
        for out.index in indices:
            yield events[out.index]
        self._at_one = False

    @property
    def sources(self) -> list[tuple[bytes, int] | None]:
        """Of each event that an agent of ours has sent: `topic/partition` and offset that it is made from."""
        return [_source(record) for record in self._records]

    @property
    def at(self) -> int | None:
        """Offset of the event that the agent is at; None before the first and after the last."""
        assert self._out is not None
        return self.offsets[self._out.index] if self._at_one and self._out.index >= 0 else None

    def commit(self) -> AbstractAsyncContextManager["Out"]:
        """Apply the batch when the block ends: outputs first, then all tables and the position at once.

        Nothing leaves the block by exception: the batch is fetched again, and its changes are dropped.
        """
        return _Commit(self, self._chunk)


Batches = AsyncIterable[Batch[E]]


class _Commit(AbstractAsyncContextManager[Out]):
    def __init__(self, batch: Batch[Any], chunk: Chunk) -> None:
        self._batch = batch
        self._chunk = chunk
        self._owner = chunk.partition
        self._found: Sorted | None = None
        self._told: Told | None = None

    async def __aenter__(self) -> Out:
        owner, batch, chunk = self._owner, self._batch, self._chunk
        if chunk.watermark is not None:
            await owner.queue.empty.wait()  # the plan, too
        owner.take(chunk)
        await owner.pinned.move_on(chunk)
        records = owner.begin(chunk)
        out = batch._out = Out(owner)
        if records:
            self._decode(out, records)
        elif chunk.watermark is not None and owner.wants(chunk):
            self._found = Sorted([], replace(owner.trouble.flood))
            out.begin([], [], [], [chunk.watermark], None)
        return out

    def _decode(self, out: Out, records: Sequence[ConsumerRecord]) -> None:
        batch, owner, chunk = self._batch, self._owner, self._chunk
        source = owner.source
        if source.behind is not None:
            self._told = read(records, owner.upstream, owner.watermark)
        events = records if self._told is None else self._told.events
        decoded = source.decode(events)
        found = owner.trouble.sort(events, decoded, retry=chunk.retry)
        end = records[-1].offset + 1
        if found.refused is not None:
            end = found.refused.offset
            if end == events[0].offset:
                owner.fail(chunk, owner.trouble.too_many(found.refused))
                return
            if self._told is not None:
                passed = [record for record in records if record.offset < end]
                self._told = read(passed, owner.upstream, owner.watermark)
        self._found = found
        for record, code, reason in found.dead:
            out.dead_letter(record, code, reason)
        if chunk.retry:
            out.tally.again = len(events)
        else:
            out.end = end
        good = batch._records = [events[i] for i in found.good]
        batch.events = [decoded[i] for i in found.good]
        batch.offsets = [record.offset for record in good]
        batch.origins = batch.offsets
        if any(map(_headers, good)):
            batch.origins = [_origin(record, owner) for record in good]
            out.tally.traces = owner.engine.tracer.begin(source.topic, owner.number, good, batch.origins)
        if self._told is None:
            times: Iterable[float] = map(source.event_time, batch.events)
            if source.out_of_order:
                times = [time - source.out_of_order for time in times]
            batch.watermarks = list(accumulate(times, max, initial=owner.watermark))[1:]
        else:
            batch.watermarks = [self._told.watermarks[i] for i in found.good]
        out.begin(good, batch.offsets, batch.origins, batch.watermarks, self._told and self._told.moves)

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool:
        owner, batch, out = self._owner, self._batch, self._batch._out
        assert out is not None
        try:
            if isinstance(exc, Exception):
                owner.fail(self._chunk, exc, at=batch.at, by_agent=True)
            elif exc is None and self._found is not None and owner.wants(self._chunk):
                watermark = out.watermarks[-1] if out.watermarks else owner.watermark
                await owner.stage(self._chunk, out, self._found, watermark, self._told)
        except Exception as failure:  # a bug in a table, or a producer that is gone
            owner.fail(self._chunk, failure)
        finally:
            out.forget()
            owner.settle(self._chunk)
        return isinstance(exc, Exception)


def _source(record: ConsumerRecord) -> tuple[bytes, int] | None:
    for name, value in record.headers:
        if name == ORIGIN:
            return _place(value)
    return None


def _place(origin: bytes) -> tuple[bytes, int] | None:
    place, _, number = origin.rpartition(b"/")
    return (place, int(number)) if number.isdigit() else None


def _origin(record: ConsumerRecord, owner: "Partition") -> int:
    """Return the first offset of an event that was sent again to the partition it came from."""
    first = dict(record.headers).get(REPLAY_OF)
    place = None if first is None else _place(first)
    return place[1] if place is not None and place[0] == owner.name.encode() else record.offset
