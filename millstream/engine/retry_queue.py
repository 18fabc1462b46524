"""The retry queue: events that wait for another try, in the partition's own state.

A topic of retries would need a second reader, and no state log would guard its repeats and its order. Here an
event is parked, retried and finished in the same commits as everything else.
"""

import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from aiokafka.record.default_records import DefaultRecord

from millstream.kafka.records import ConsumerRecord

PREFIX = b"\0waiting\0"
END = b"\0waiting\1"

_OFFSET = struct.Struct(">q")


class _Row(msgspec.Struct, array_like=True):
    due: float
    attempts: int
    reason: str
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Parked:
    """An event that waits.

    Attributes:
        key: its key.
        due: when it may be tried again, seconds since the epoch; one that only waits for an earlier one of
            its key is due at once.
        attempts: how often it was tried.
    """

    key: bytes | None
    due: float
    attempts: int


class RetryQueue:
    """The events of a partition that wait for another try, by offset.

    Args:
        clock: returns the time, seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._parked: dict[int, Parked] = {}
        self.keys: set[bytes | None] = set()

    def __len__(self) -> int:
        return len(self._parked)

    def load(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Load what the state holds."""
        self._parked = {
            _OFFSET.unpack_from(key, len(PREFIX))[0]: Parked(row.key, row.due, row.attempts)
            for key, raw in rows
            for row in (_decode(raw),)
        }
        self._index()

    def update(self, changes: dict[int, Parked | None]) -> None:
        """Take over what a batch has changed."""
        if not changes:  # as nearly always; the index is made of all that wait
            return
        for offset, parked in changes.items():
            if parked is None:
                self._parked.pop(offset, None)
            else:
                self._parked[offset] = parked
        self._index()

    def _index(self) -> None:
        self.keys = {parked.key for parked in self._parked.values()}

    def attempts(self, offset: int) -> int:
        """Return how often an event was tried."""
        parked = self._parked.get(offset)
        return 0 if parked is None else parked.attempts

    def due(self, limit: int, *, keep_order: bool) -> list[int]:
        """Return the offsets of events to retry now, in order, at most `limit`."""
        now = self._clock()
        held: set[bytes | None] = set()
        found: list[int] = []
        for offset in sorted(self._parked):
            parked = self._parked[offset]
            if (keep_order and parked.key in held) or parked.due > now:
                held.add(parked.key)
            elif len(found) < limit:
                found.append(offset)
        return found


def row_key(offset: int) -> bytes:
    """Return the key of an event's row."""
    return PREFIX + _OFFSET.pack(offset)


def pack(record: ConsumerRecord, parked: Parked, reason: str) -> bytes:
    """Make an event's row."""
    return msgspec.msgpack.encode(
        _Row(
            parked.due,
            parked.attempts,
            reason,
            record.timestamp,
            record.timestamp_type,
            record.key,
            record.value,
            list(record.headers),
        )
    )


def unpack(offsets: Sequence[int], rows: Sequence[bytes | None]) -> list[ConsumerRecord]:
    """Make the records of events again."""
    records: list[ConsumerRecord] = []
    for offset, raw in zip(offsets, rows, strict=True):
        if raw is not None:
            row = _decode(raw)
            records.append(
                DefaultRecord(offset, row.timestamp, row.timestamp_type, row.key, row.value, row.headers)
            )
    return records


_decode = msgspec.msgpack.Decoder(_Row).decode
