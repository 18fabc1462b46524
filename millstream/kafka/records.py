"""What Kafka gives."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class ConsumerRecord(Protocol):
    """One record as Kafka gave it; `timestamp` is in milliseconds since the epoch."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Unsent(msgspec.Struct):
    """A value as decoders read it, of a record that is in no topic yet; see `ConsumerRecord`."""

    value: bytes | None
    timestamp: int
    offset: int = 0
    timestamp_type: int = 0
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()
