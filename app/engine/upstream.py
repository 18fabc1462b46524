"""The watermark of a topic that agents of ours fill: how far all partitions that it is made from have come.

Records of several partitions mix in such a topic, some far behind the others: their event times say little.
Instead each of those partitions tells every partition of the topic its watermark now and then, by a record
without a value, a *mark*. Whatever it has sent for events up to there stands before the mark. The topic's
watermark is the lowest of what the partitions have told last, once all have.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from app.engine.producer import Record
from app.engine.source import ConsumerRecord

# Behind `tables.replica.TOPIC`, so that it is part of what a copy sends to a log that has lost its beginning.
ROW = b"\0upstream"
NO_EVENTS = math.inf
"""Of a partition that has never had an event: told each time that the idle time has passed again."""
# Told once so far: the partition is still waited for.
_ONCE = -math.inf

_WATERMARK, _OF = "watermark", "of"


class Told(NamedTuple):
    """What records tell.

    Attributes:
        events: those that are no marks.
        watermarks: the watermark at each of these.
        moves: each watermark that a mark has moved it to, with the mark's offset.
        known: what each partition has told last, `topic/partition`.
    """

    events: list[ConsumerRecord]
    watermarks: list[float]
    moves: list[tuple[float, int]]
    known: dict[str, float]

    @property
    def row(self) -> bytes:
        """What the state keeps of it."""
        return msgspec.msgpack.encode(self.known)


def mark(partition: str, watermark: float, of: int) -> Record:
    """Make the record by which a partition tells its watermark.

    Args:
        partition: the one that tells, `topic/partition`.
        watermark: seconds since the epoch, or `NO_EVENTS`.
        of: how many partitions tell theirs.
    """
    return partition.encode(), None, [(_WATERMARK, repr(watermark).encode()), (_OF, b"%d" % of)]


def load(row: bytes | None) -> Mapping[str, float]:
    """Return what the partitions have told last, from the state."""
    return {} if row is None else msgspec.msgpack.decode(row, type=dict[str, float])


def read(records: Sequence[ConsumerRecord], known: Mapping[str, float], watermark: float) -> Told:
    """Read the marks among records.

    Args:
        records: as they were fetched.
        known: what the partitions have told before.
        watermark: what has come of it; it never goes back.
    """
    told = Told([], [], [], dict(known))
    for record in records:
        headers = dict(record.headers) if record.value is None else {}
        if record.key is None or _WATERMARK not in headers:
            told.events.append(record)
            told.watermarks.append(watermark)
            continue
        _note(told.known, record.key.decode(), float(headers[_WATERMARK]))
        lowest = min(told.known.values())
        if len(told.known) >= int(headers[_OF]) and watermark < lowest < NO_EVENTS:
            watermark = lowest
            told.moves.append((watermark, record.offset))
    return told


def _note(known: dict[str, float], partition: str, watermark: float) -> None:
    before = known.get(partition)
    if watermark == NO_EVENTS:
        if before is None or not math.isfinite(before):
            known[partition] = _ONCE if before is None else NO_EVENTS
        return
    if not any(map(math.isfinite, known.values())):
        # Events begin to come. Whether the others have none will show when they have told so twice more:
        # then at least the idle time has passed.
        known.clear()
    # A worker that has lost the partition may tell what was true before.
    if before is None or not math.isfinite(before) or before < watermark:
        known[partition] = watermark
