"""The headers that say where a record comes from. Anybody may write them: others count as none."""

import re

from millstream.kafka.records import ConsumerRecord

ORIGIN = "origin"
REPLAY_OF = "replay-of"

# Topic, partition and offset, as Kafka limits them.
_ORIGIN = re.compile(rb"(.{1,249}/\d{1,10})/(\d{1,18})", re.DOTALL)


def source_of(record: ConsumerRecord) -> tuple[bytes, int] | None:
    """Return `topic/partition` and offset of the event that a record was made from; None if none is named."""
    return _place(_header(record, ORIGIN))


def first_offset(record: ConsumerRecord, partition: str) -> int:
    """Return the first offset of an event that was sent again to the partition it came from.

    Args:
        record: the record.
        partition: the partition that it is in, `topic/number`.
    """
    place = _place(_header(record, REPLAY_OF))
    return place[1] if place is not None and place[0] == partition.encode() else record.offset


def first_origin(record: ConsumerRecord, partition: str) -> str:
    """Return the origin of a record, of a dead letter that was sent again the first one.

    Args:
        record: the record.
        partition: the partition that it is in, `topic/number`.
    """
    place = _place(_header(record, REPLAY_OF))
    if place is None:
        return f"{partition}/{record.offset}"
    return f"{place[0].decode(errors='backslashreplace')}/{place[1]}"


def _header(record: ConsumerRecord, name: str) -> bytes | None:
    for key, value in record.headers:
        if key == name:
            return value
    return None


def _place(origin: bytes | None) -> tuple[bytes, int] | None:
    found = None if origin is None else _ORIGIN.fullmatch(origin)
    return None if found is None else (found[1], int(found[2]))
