"""The state log: the authoritative record of all tables of one source partition.

It is one partition of a compacted Kafka topic. A *commit* is one Kafka record batch, appended as a whole or
not at all. It holds the changed rows of all tables, and the position up to which the source has been applied.
A *fence* is the first record of an owner; its offset is the owner's *epoch*. Every record carries its
writer's epoch. A record counts only if there is no fence with a higher epoch before it.
"""

import struct
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from millstream.state.errors import UnknownFormatError

FENCE = b"\0fence"
POSITION = b"\0position"
# The offset from which on the log holds all rows, if its beginning was deleted.
WHOLE = b"\0whole"
EPOCH_HEADER = "epoch"
FORMAT_HEADER = "format"

# The record format of a state log. Fences and positions carry it. A version that finds a higher number stops,
# instead of misreading rows. Logs from before the format was numbered have the first format.
FORMAT = 1

_EPOCH = struct.Struct(">q")
_EPOCH_BYTES = _EPOCH.size
_unpack = _EPOCH.unpack_from


class Entry(NamedTuple):
    """One record to append: key, value (None deletes the key) and headers."""

    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


class LogRecord(Protocol):
    """One record of the log; `timestamp` is when it was written, milliseconds since the epoch."""

    offset: int
    timestamp: int
    key: bytes
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Log(Protocol):
    """The storage of one partition's state log: Kafka, or memory in tests.

    Attributes:
        topic_id: id that distinguishes the log's topic from a later one of the same name; empty if it is
            unknown.
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
        """Return the offset of the oldest record that still exists."""
        ...

    def read(self, start: int, end: int) -> AsyncIterator[Sequence[LogRecord]]:
        """Read the records from offset `start` up to, not including, `end`, in order."""
        ...


class Position(msgspec.Struct, array_like=True):
    """The position of the state in its source.

    Attributes:
        offsets: for each source topic, the offset of the next record to apply.
        watermark: the largest event time that was applied, seconds since the epoch.
        applied: number of events that were applied.
        dead_letters: counts of dead letters; see `millstream.engine.error_policy.DeadLetterCounter`.
        format: the format of the log's records; see `FORMAT`.
    """

    offsets: dict[str, int] = {}
    watermark: float = 0.0
    applied: int = 0
    dead_letters: tuple[int, int, int] = (0, 0, 0)
    format: int = FORMAT

    def encode(self) -> bytes:
        """Encode the position for the log and for RocksDB."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, raw: bytes | None) -> "Position":
        """Decode a position; None is the position of an empty state.

        Raises:
            UnknownFormatError: a later version wrote it.
        """
        if raw is None:
            return cls()
        try:
            position = msgspec.msgpack.decode(raw, type=cls)
        except msgspec.ValidationError:  # another format: its number tells which
            fields, place = msgspec.msgpack.decode(raw), cls.__struct_fields__.index("format")
            if isinstance(fields, list) and len(fields) > place:
                _check_format(fields[place])
            raise
        _check_format(position.format)
        return position


def fence() -> Entry:
    """Return the first record of an owner."""
    return Entry(FENCE, b"", [(FORMAT_HEADER, b"%d" % FORMAT)])


def check_fence(record: LogRecord) -> None:
    """Check that the owner that wrote a fence uses a format that this version can read.

    Raises:
        UnknownFormatError: the owner uses another format.
    """
    for name, value in record.headers:
        if name == FORMAT_HEADER:
            _check_format(int(value) if value and value.isdigit() and len(value) < 10 else value)


def _check_format(found: object) -> None:
    if not isinstance(found, int) or not 1 <= found <= FORMAT:
        raise UnknownFormatError(found, FORMAT)


def entry(epoch: int, key: bytes, value: bytes | None) -> Entry:
    """Return the log record of a changed row. The epoch is before the value, or in a header of a deletion."""
    stamp = _EPOCH.pack(epoch)
    if value is None:
        return Entry(key, None, [(EPOCH_HEADER, stamp)])
    return Entry(key, stamp + value, [])


def unpack(record: LogRecord) -> tuple[int, bytes | None]:
    """Return the writer's epoch and the row's value of a record that is not a fence."""
    value = record.value
    if value is None:
        return _unpack(dict(record.headers)[EPOCH_HEADER])[0], None
    return _unpack(value)[0], value[_EPOCH_BYTES:]
