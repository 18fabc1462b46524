"""What a source yields."""

from typing import NamedTuple


class Record(NamedTuple):
    """One record for Kafka.

    Attributes:
        key: UTF-8 of the user's id; None for a value that names no user.
        value: JSON in UTF-8; None is a tombstone.
        event_time: seconds since the epoch, UTC; for pacing only, the value holds its own.
    """

    key: bytes | None
    value: bytes | None
    event_time: float


class BadLine(NamedTuple):
    """A line that is not an event.

    Attributes:
        line: number of its first line in the file, from 1.
        raw: its bytes, without the end of the line.
        reason: for people. What stands before the first `: ` is the same for all lines of its kind.
    """

    line: int
    raw: bytes
    reason: str


class SourceError(Exception):
    """A file that cannot be read (on); its text says what to do."""
