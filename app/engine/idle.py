"""A watermark that moves on although no events come.

It moves by wall clock, which a replay must not: so in two commits. The first says how far it will move; the
second moves it, and closes what that closes. No event is taken in between: after a crash behind the first the
same is done again, and what was closed and told is told with the same bytes.
"""

import struct
from collections.abc import Callable

# Behind `tables.replica.TOPIC`, so that it is part of what a copy sends to a log that has lost its beginning.
ROW = b"\0watermark"

_PLAN = struct.Struct(">qd")


class Idle:
    """What a partition knows of its silence.

    Args:
        seconds: after how long without events the watermark moves; None for never.
        clock: tells the time, seconds since the epoch.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._moved = clock()
        self._plan: tuple[int, float] | None = None

    def load(self, raw: bytes | None, accepted: int) -> None:
        """Begin with what the state holds.

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
        """Note that the watermark may have moved: silence begins again, and a plan is done."""
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
        """Whether there were no events for long enough."""
        return self._seconds is not None and self._clock() - self._moved >= self._seconds

    def plan(self, accepted: int, watermark: float) -> bytes | None:
        """Plan a move, and return the row that says so; None if it is too early."""
        if not self.long or not watermark:
            return None
        self._plan = accepted, watermark + self._clock() - self._moved
        return _PLAN.pack(*self._plan)
