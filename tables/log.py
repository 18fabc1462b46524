"""The state log: the truth about all tables of one source partition.

It is one partition of a compacted Kafka topic. A *commit* is one Kafka record batch, appended whole or
not at all: the changed rows of all tables, and the position up to which the source has been applied.
A *fence* is the first record of an owner; its offset is the owner's *epoch*. Every record carries its
writer's epoch, and counts only if no fence of a higher epoch stands before it.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

FENCE = b"\0fence"
POSITION = b"\0position"
# Offset from which on the log holds all rows, where its beginning was deleted.
WHOLE = b"\0whole"
EPOCH_HEADER = "epoch"

_EPOCH = struct.Struct(">q")
_EPOCH_BYTES = _EPOCH.size
_unpack = _EPOCH.unpack_from


class Entry(NamedTuple):
    """One record to append: key, value (None deletes the key) and headers."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


class LogRecord(Protocol):
    """One record as read back; `timestamp` is when it was written, milliseconds since the epoch."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class TooLargeError(Exception):
    """The entries do not fit into one record batch; nothing was appended."""


class Log(Protocol):
    """Where the state log of one partition is kept: Kafka, or memory in tests.

    Attributes:
        topic_id: tells the log's topic from a later one of the same name; empty if that is not known.
    """

    topic_id: str

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append the entries as one batch and wait until it is confirmed.

        Returns:
            The offset of the first entry.

        Raises:
            TooLargeError: the entries do not fit into one batch.
        """
        ...

    async def start(self) -> int:
        """Return the offset of the oldest record that is still there."""
        ...

    def read(self, start: int, end: int) -> AsyncIterator[Sequence[LogRecord]]:
        """Read the records from offset `start` up to, not including, `end`, in order."""
        ...


class Position(msgspec.Struct, array_like=True):
    """How far the state has come.

    Attributes:
        offsets: for each source topic, the offset of the first record that is not yet applied.
        watermark: the largest event time that was applied, seconds since the epoch.
        applied: number of events that were applied.
        flood: counts of dead letters; see `app.engine.errors.Flood`.
    """

    offsets: dict[str, int] = {}
    watermark: float = 0.0
    applied: int = 0
    flood: tuple[int, int, int] = (0, 0, 0)

    def encode(self) -> bytes:
        """Pack for the log and for RocksDB."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, raw: bytes | None) -> "Position":
        """Unpack; None is the position of a state that has seen nothing."""
        return cls() if raw is None else msgspec.msgpack.decode(raw, type=cls)


def entry(epoch: int, key: bytes, value: bytes | None) -> Entry:
    """Give a changed row its writer's epoch: before the value, or in a header of a deletion."""
    stamp = _EPOCH.pack(epoch)
    if value is None:
        return Entry(key, None, [(EPOCH_HEADER, stamp)])
    return Entry(key, stamp + value, [])


def unpack(record: LogRecord) -> tuple[int, bytes | None]:
    """Return the writer's epoch and the row's value of a record that is no fence."""
    value = record.value
    if value is None:
        return _unpack(dict(record.headers)[EPOCH_HEADER])[0], None
    return _unpack(value)[0], value[_EPOCH_BYTES:]
