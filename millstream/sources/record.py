"""The records that sources yield."""

from typing import NamedTuple


class Record(NamedTuple):
    """One record for Kafka.

    Attributes:
        key: UTF-8 of the topic's key; None if the value has none.
        value: JSON in UTF-8; None is a tombstone.
        event_time: seconds since the epoch, UTC; only for pacing, the value has its own.
    """

    key: bytes | None
    value: bytes | None
    event_time: float


class BadLine(NamedTuple):
    """A line that is not an event.

    Attributes:
        line: number of its first line in the file, from 1.
        raw: its bytes, without the line end.
        reason: the reason, for people. The text before the first `: ` is the same for all lines with this
            problem.
    """

    line: int
    raw: bytes
    reason: str


class SourceError(Exception):
    """A file cannot be read, or not completely; the text says what to do."""
