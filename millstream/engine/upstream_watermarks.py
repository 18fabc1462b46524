"""The watermark of a topic that our own agents fill: the lowest watermark of the partitions that fill it.

Records of several upstream partitions mix in such a topic, and some partitions are far behind the others,
so event times say little. Instead each upstream partition sends its watermark to every partition of the topic
now and then, in a record without a value: a *watermark marker*. All records that it has sent for events up to
that watermark stand before the marker. The topic's watermark is the lowest of the last markers, once every
upstream partition has sent one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from millstream.kafka.producer import Record
from millstream.kafka.records import ConsumerRecord

# Sorted behind `millstream.state.replica.TOPIC`: a copy sends such rows to a log that has lost its beginning.
ROW = b"\0upstream"
NO_EVENTS = math.inf
"""The watermark of a partition without any event. It is sent each time that the idle time passes."""
# Received once so far: the topic still waits for this partition.
_ONCE = -math.inf

_WATERMARK, _OF = "watermark", "of"


class UpstreamWatermarks(NamedTuple):
    """What the records of a batch say of upstream watermarks.

    Attributes:
        events: the records that are not markers.
        watermarks: the watermark at each of these.
        moves: each watermark that a marker has moved it to, with the marker's offset.
        known: the last watermark of each upstream partition, by `topic/partition`.
    """

    events: list[ConsumerRecord]
    watermarks: list[float]
    moves: list[tuple[float, int]]
    known: dict[str, float]

    @property
    def row(self) -> bytes:
        """The row that the state keeps."""
        return msgspec.msgpack.encode(self.known)


def watermark_marker(partition: str, watermark: float, of: int) -> Record:
    """Make the record that carries a partition's watermark.

    Args:
        partition: the upstream partition, `topic/partition`.
        watermark: seconds since the epoch, or `NO_EVENTS`.
        of: how many upstream partitions there are.
    """
    return partition.encode(), None, [(_WATERMARK, repr(watermark).encode()), (_OF, b"%d" % of)]


def load(row: bytes | None) -> Mapping[str, float]:
    """Return the last watermarks of the upstream partitions, from the state."""
    return {} if row is None else msgspec.msgpack.decode(row, type=dict[str, float])


def read_markers(
    records: Sequence[ConsumerRecord], known: Mapping[str, float], watermark: float
) -> UpstreamWatermarks:
    """Read the markers among records.

    Args:
        records: as they were fetched.
        known: the last watermarks of the upstream partitions before.
        watermark: the watermark before; it never goes back.
    """
    found = UpstreamWatermarks([], [], [], dict(known))
    for record in records:
        marker = _marker(record) if record.value is None else None
        if marker is None:
            found.events.append(record)
            found.watermarks.append(watermark)
            continue
        partition, reached, of = marker
        _note(found.known, partition, reached)
        lowest = min(found.known.values())
        if len(found.known) >= of and watermark < lowest < NO_EVENTS:
            watermark = lowest
            found.moves.append((watermark, record.offset))
    return found


def _marker(record: ConsumerRecord) -> tuple[str, float, int] | None:
    """Return partition, watermark and number of partitions of a marker; None of a record that is none."""
    headers = dict(record.headers)
    try:
        partition, watermark, of = (record.key or b"").decode(), float(headers[_WATERMARK]), int(headers[_OF])
    except (KeyError, TypeError, ValueError):  # anybody may send to the topic: it becomes a dead letter
        return None
    return (partition, watermark, of) if partition and watermark >= 0 and of > 0 else None


def _note(known: dict[str, float], partition: str, watermark: float) -> None:
    before = known.get(partition)
    if watermark == NO_EVENTS:
        if before is None or not math.isfinite(before):
            known[partition] = _ONCE if before is None else NO_EVENTS
        return
    if not any(map(math.isfinite, known.values())):
        # The first events have come. The other partitions count as empty only when they have said so twice
        # more: then at least the idle time has passed.
        known.clear()
    # A worker that has lost the partition may still send an older watermark.
    if before is None or not math.isfinite(before) or before < watermark:
        known[partition] = watermark
