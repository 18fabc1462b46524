"""How far a partition has come: the numbers that the parts of a partition share."""

from collections.abc import Mapping

from millstream.engine.source import Source
from millstream.state.state import State


class Cursor:
    """How far a source partition has come.

    Args:
        source: the topic.
        number: the partition's number.
        limit: the largest number of records in a chunk.

    Attributes:
        name: topic and number, as in an origin.
        state: the tables; None before they are opened and after they are closed.
        generation: what a chunk's generation must be; None while nothing may be processed.
        accepted: offset of the first record that no batch has taken yet.
        committed: offset of the first record that is not yet in the state; None before the restore.
        watermark: largest event time that was accepted, seconds since the epoch.
        applied: number of events that were accepted.
        upstream: the watermarks of the partitions that fill it; see
            `millstream.engine.upstream_watermarks`.
    """

    def __init__(self, source: Source, number: int, limit: int) -> None:
        self.source = source
        self.number = number
        self.limit = limit
        self.name = f"{source.topic}/{number}"
        self.state: State | None = None
        self.generation: int | None = None
        self.accepted = 0
        self.committed: int | None = None
        self.watermark = 0.0
        self.applied = 0
        self.upstream: Mapping[str, float] = {}

    @property
    def owned_state(self) -> State:
        """The tables, where they are known to be open."""
        assert self.state is not None
        return self.state
