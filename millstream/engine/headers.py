"""The headers that say where a record comes from."""

from millstream.kafka.records import ConsumerRecord
from millstream.serde.wire import REPLAY_OF

__all__ = ["ORIGIN", "REPLAY_OF", "first_offset", "source_of"]

ORIGIN = "origin"


def source_of(record: ConsumerRecord) -> tuple[bytes, int] | None:
    """Return `topic/partition` and offset of the event that a record was made from; None if none is named."""
    for name, value in record.headers:
        if name == ORIGIN:
            return _place(value)
    return None


def first_offset(record: ConsumerRecord, partition: str) -> int:
    """Return the first offset of an event that was sent again to the partition it came from.

    Args:
        record: the record.
        partition: the partition that it is in, `topic/number`.
    """
    first = dict(record.headers).get(REPLAY_OF)
    place = None if first is None else _place(first)
    return place[1] if place is not None and place[0] == partition.encode() else record.offset


def _place(origin: bytes) -> tuple[bytes, int] | None:
    place, _, number = origin.rpartition(b"/")
    return (place, int(number)) if number.isdigit() else None
