"""As of which offsets a source partition looks reference topics up.

A replay must find what was found the first time. So it is a row of the state, and moves on like this: the row
is committed together with all that was computed before, and only then looked up by. What is computed after a
crash goes by the row until the source's end as it was then: no event behind that has been seen before.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from aiokafka.structs import TopicPartition

from app.engine.reference import Known, Offsets, Reference

if TYPE_CHECKING:
    from app.engine.batch import Chunk
    from app.engine.partition import Partition

logger = logging.getLogger(__name__)

# Behind `tables.replica.TOPIC`, so that it is part of what a copy sends to a log that has lost its beginning.
ROW = b"\0versions"

_decode = msgspec.msgpack.Decoder(dict[str, dict[int, int]]).decode


class Pinned:
    """The offsets that a source partition looks up as of.

    Args:
        owner: the partition.
    """

    def __init__(self, owner: "Partition") -> None:
        self._owner = owner
        self._offsets: dict[str, Offsets] = {}
        self._from = 0
        self._moved = 0.0
        self._warned = False

    @property
    def progress(self) -> int | None:
        """Number of records of reference topics that were read; None if none are waited for."""
        copies = [self._owner.engine.references.of(reference) for reference in self._owner.source.references]
        return None if all(copy.ready.is_set() for copy in copies) else sum(copy.records for copy in copies)

    async def wait(self) -> None:
        """Wait until all that the reference topics held when the worker began has been read."""
        for reference in self._owner.source.references:
            await self._owner.engine.references.of(reference).ready.wait()

    async def load(self) -> None:
        """Begin with what the state holds; what it does not hold is decided and committed."""
        owner = self._owner
        if not owner.source.references:
            return
        raw = owner.state.get_many([ROW])[0]
        held = {} if raw is None else _decode(raw)
        self._offsets = self._newest()
        for topic, newest in self._offsets.items():
            if topic not in held:
                continue
            if all(offset <= newest.get(number, 0) for number, offset in held[topic].items()):
                self._offsets[topic] = held[topic]
            else:
                logger.warning("%s: %s was made anew, or has lost records", owner.name, topic)
        if self._offsets != held:
            changes = owner.engine.wiring.new_changes()
            changes.rows[ROW] = msgspec.msgpack.encode(self._offsets)
            await owner.state.commit(changes, owner.state.position)
        self._from = 0
        if held:
            self._from = await owner.engine.end(TopicPartition(owner.source.topic, owner.number))
        self._warned = False

    async def move_on(self, chunk: "Chunk") -> None:
        """Look up by the newest offsets from a chunk on, if it is time; not by more than one step a second.

        Only for fetched records: a planned move of the watermark, and events that were due to be tried again
        when the partition was taken over, may have been seen before.
        """
        owner, engine = self._owner, self._owner.engine
        now = engine.clock()
        if (
            not self._offsets
            or chunk.watermark is not None
            or chunk.retry
            or not owner.wants(chunk)
            or owner.accepted < self._from
            or now < self._moved + engine.reference_seconds
        ):
            return
        newest = self._newest()
        trouble = owner.trouble
        if newest == self._offsets or trouble.waiting.due(1, keep_order=trouble.policy.keep_order):
            return
        self._moved = now
        changes = engine.wiring.new_changes()
        changes.rows[ROW] = msgspec.msgpack.encode(newest)
        owner._stage(changes, {}, [], 0)
        await owner.committed_all()
        if owner.wants(chunk):
            self._offsets = newest

    def known(self, reference: Reference[Any]) -> Known[Any]:
        """Return a reference topic as this partition looks it up.

        Raises:
            LookupError: the partition's source does not refer to it.
        """
        if reference.topic not in self._offsets:
            raise LookupError(
                f"{self._owner.source.topic} does not refer to {reference.name!r}: "
                "`refer(topic, reference)` beside the agent"
            )
        copy = self._owner.engine.references.of(reference)
        return Known(copy, self._offsets[reference.topic], partial(self._gone, reference.topic))

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
