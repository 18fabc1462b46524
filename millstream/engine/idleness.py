"""The watermark of an idle partition: it moves with the wall clock.

A replay must not depend on a clock, so the move takes two commits. The first one records how far the
watermark will move. The second one moves it, and closes the windows that this closes. No event is taken in
between: after a crash between them the same move is done again, and closed windows are sent again with the
same bytes.
"""

import struct
from collections.abc import Callable

# Sorted behind `millstream.state.replica.TOPIC`: a copy sends such rows to a log that has lost its beginning.
ROW = b"\0watermark"

_PLAN = struct.Struct(">qd")


class Idleness:
    """How long a partition has been idle, and the planned move of its watermark.

    Args:
        seconds: after how long without events the watermark moves; None for never.
        clock: returns the time, seconds since the epoch.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._moved = clock()
        self._plan: tuple[int, float] | None = None

    def load(self, raw: bytes | None, accepted: int) -> None:
        """Load what the state holds.

        Args:
            raw: the row of the plan.
            accepted: offset of the first event that was not taken yet.
        """
        self.moved()
        if raw is not None:
            offset, watermark = _PLAN.unpack(raw)
            if offset == accepted:
                self._plan = offset, watermark

    def moved(self) -> None:
        """Note that the watermark may have moved: the idle time starts again, and the plan is carried out."""
        self._moved = self._clock()
        self._plan = None

    @property
    def planned(self) -> float | None:
        """Where the watermark is to move; None if it is not."""
        return None if self._plan is None else self._plan[1]

    @property
    def due(self) -> bool:
        """Whether the watermark is to move, or may have to."""
        return self._plan is not None or self.long

    @property
    def long(self) -> bool:
        """Whether the partition has been idle for long enough."""
        return self._seconds is not None and self._clock() - self._moved >= self._seconds

    def plan(self, accepted: int, watermark: float) -> bytes | None:
        """Plan a move, and return its row; None if it is too early."""
        if not self.long or not watermark:
            return None
        self._plan = accepted, watermark + self._clock() - self._moved
        return _PLAN.pack(*self._plan)
