"""As of which offsets a source partition looks reference topics up.

A replay must find what was found the first time. So these are a row of the state, with a *lease*: the row is
for events that Kafka got before a certain time. It is committed with all that was computed before it, and
only then looked up by; no event is given to the agent that no row is for. So after a crash newer offsets may
be taken from the first event on that came after the lease, or after the new start: nobody has seen it before.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.structs import TopicPartition

from app.engine.meters import Tally
from app.engine.reference import Known, Offsets, Reference

if TYPE_CHECKING:
    from app.engine.batch import Chunk
    from app.engine.partition import Partition

logger = logging.getLogger(__name__)

# Behind `tables.replica.TOPIC`, so that it is part of what a copy sends to a log that has lost its beginning.
ROW = b"\0versions"


class _Row(msgspec.Struct, array_like=True):
    """Offsets of the topics, and the lease: the broker's time, milliseconds since the epoch."""

    offsets: dict[str, Offsets] = {}
    lease: int = 0


_decode = msgspec.msgpack.Decoder(_Row).decode


class Pinned:
    """The offsets that a source partition looks up as of.

    Args:
        owner: the partition.
    """

    def __init__(self, owner: "Partition") -> None:
        self._owner = owner
        self._row = _Row()
        self._found = (0, 0)  # lease of the row, and end of the source, when the partition was taken over
        self._moved = 0.0
        self._warned = False

    @property
    def progress(self) -> int | None:
        """Number of records of reference topics that were read; None if none are waited for."""
        copies = [self._owner.engine.references.of(reference) for reference in self._owner.source.references]
        return None if all(copy.ready.is_set() for copy in copies) else sum(copy.records for copy in copies)

    async def wait(self) -> None:
        """Wait until all that the reference topics held when their copies were begun has been read."""
        for reference in self._owner.source.references:
            await self._owner.engine.references.of(reference).ready.wait()

    async def load(self) -> None:
        """Begin with what the state holds; what it does not hold is decided and committed."""
        owner = self._owner
        if not owner.source.references:
            return
        raw = owner.state.get_many([ROW])[0]
        found = _Row() if raw is None else _decode(raw)
        offsets = self._newest()
        for topic, newest in offsets.items():
            held = found.offsets.get(topic)
            if held is None:
                continue
            if all(offset <= newest.get(number, 0) for number, offset in held.items()):
                offsets[topic] = held
            else:
                logger.warning("%s: %s was made anew, or has lost records", owner.name, topic)
        end = await owner.engine.end(TopicPartition(owner.source.topic, owner.number))
        self._row, self._found, self._warned = _Row(offsets, found.lease), (found.lease, end), False
        if self._row != found:
            await owner.state.commit(self._changes(self._row), owner.state.position)

    async def move_on(self, chunk: "Chunk") -> None:
        """Look up as of newer offsets from a chunk on, if it is time; see to a lease that it is within.

        A planned move of the watermark, and an event that is tried again, come without: either may have come
        before a crash, so neither is left undone when newer offsets are taken.
        """
        owner, engine = self._owner, self._owner.engine
        if not self._row.offsets or not chunk.records or chunk.retry or not owner.wants(chunk):
            return
        await self.wait()  # for a topic that was made anew
        offsets, last = self._row.offsets, max(record.timestamp for record in chunk.records)
        first, (lease, end) = chunk.records[0], self._found
        if (first.timestamp >= lease or first.offset >= end) and self._may_move():
            offsets = self._newest()
        if offsets == self._row.offsets and last < self._row.lease:
            return
        row = _Row(offsets, last + 1 + int(engine.lease_seconds * 1000))
        owner._stage(self._changes(row), {}, [], Tally())
        await owner.queue.empty.wait()
        if owner.wants(chunk):
            self._row = row

    def _may_move(self) -> bool:
        engine, trouble = self._owner.engine, self._owner.trouble
        now = engine.clock()
        if now < self._moved + engine.reference_seconds:
            return False
        self._moved = now
        return not trouble.waiting.due(1, keep_order=trouble.policy.keep_order)

    def _changes(self, row: _Row) -> Any:
        changes = self._owner.engine.wiring.new_changes()
        changes.rows[ROW] = msgspec.msgpack.encode(row)
        return changes

    def known(self, reference: Reference[Any]) -> Known[Any]:
        """Return a reference topic as this partition looks it up.

        Raises:
            LookupError: the partition's source does not refer to it.
        """
        if reference.topic not in self._row.offsets:
            raise LookupError(
                f"{self._owner.source.topic} does not refer to {reference.name!r}: "
                "`refer(topic, reference)` beside the agent"
            )
        copy = self._owner.engine.references.of(reference)
        return Known(copy, self._row.offsets[reference.topic], partial(self._gone, reference.topic))

    def _newest(self) -> dict[str, Offsets]:
        references = self._owner.engine.references
        return {of.topic: dict(references.of(of).next) for of in self._owner.source.references}

    def _gone(self, topic: str, key: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s: what %s held of %r as of the last commit may be compacted away; the oldest value that "
                "is there is taken, for other keys too",
                self._owner.name,
                topic,
                key,
            )
