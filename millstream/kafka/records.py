"""What Kafka gives."""

from collections.abc import Sequence
from typing import Protocol


class ConsumerRecord(Protocol):
    """One record as Kafka gave it; `timestamp` is in milliseconds since the epoch."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
