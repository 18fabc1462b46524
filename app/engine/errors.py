"""What happens when an agent fails at an event, and when too many events are none."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import compress


class Verdict(Enum):
    """What to do about an exception.

    `RETRY` computes the batch again, soon: for what is likely to pass at once, or concerns all events alike.
    `LATER` sets the event aside, tries it again after a delay, and goes on with the others.
    `DEAD_LETTER` sends the event to the dead letters, with the exception as the reason.
    `STOP` ends the worker.
    """

    RETRY = "retry"
    LATER = "later"
    DEAD_LETTER = "dead letter"
    STOP = "stop"


@dataclass(frozen=True)
class Backoff:
    """Waiting times that double, from `first` up to `most`, less up to a half at random."""

    first: timedelta = timedelta(milliseconds=100)
    most: timedelta = timedelta(seconds=5)

    def seconds(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        longest = self.first.total_seconds() * 2 ** min(failures - 1, 32)
        return float(min(self.most.total_seconds(), longest) * random.uniform(0.5, 1))  # noqa: S311 (jitter) # nosec B311


@dataclass(frozen=True)
class DlqLimit:
    """How many dead letters of a partition are taken for accidents; beyond it the worker stops.

    Attributes:
        run: the longest run of dead letters, without a valid event between them; 0 for no limit.
        share: their largest share of a window; 1 for no limit.
        window: the window's length, in records.
    """

    run: int = 10_000
    share: float = 0.5
    window: int = 10_000


@dataclass(frozen=True)
class ErrorPolicy:
    """What an agent's exceptions mean.

    Attributes:
        verdicts: for a type of exceptions, and its subtypes, what to do.
        otherwise: what to do about all others.
        retries: how often in a row a batch is computed again.
        exhausted: the verdict after that; `LATER` and `DEAD_LETTER` need an exception at an event.
        backoff: time between two tries.
        delay: time until an event is tried again after `LATER`.
        attempts: how often an event is tried in all; then it is a dead letter.
        keep_order: whether events wait behind an earlier one of their key that waits.
        limit: of the dead letters; None for that of the settings.
    """

    verdicts: Mapping[type[Exception], Verdict] = field(default_factory=dict)
    otherwise: Verdict = Verdict.RETRY
    retries: int = 7
    exhausted: Verdict = Verdict.STOP
    backoff: Backoff = Backoff()
    delay: timedelta = timedelta(seconds=30)
    attempts: int = 10
    keep_order: bool = True
    limit: DlqLimit | None = None

    def verdict(self, failure: Exception) -> Verdict:
        """Return what to do about an exception: the verdict of its nearest type."""
        for kind in type(failure).__mro__:
            if kind in self.verdicts:
                return self.verdicts[kind]
        return self.otherwise


@dataclass
class Flood:
    """Counts dead letters against a limit; part of a partition's position, so that a restart counts on.

    Attributes:
        run: dead letters since the last valid event.
        seen: records of the current window.
        bad: dead letters among them.
    """

    run: int = 0
    seen: int = 0
    bad: int = 0

    @property
    def counts(self) -> tuple[int, int, int]:
        """All three, as a position has them."""
        return self.run, self.seen, self.bad

    def admit(self, bad: Sequence[bool], limit: DlqLimit) -> int:
        """Count records, as far as the limit lets them pass.

        Args:
            bad: for each record, whether it is a dead letter.
            limit: the limit.

        Returns:
            How many passed.
        """
        passed = 0
        for i in compress(range(len(bad)), bad):
            self.admit_valid(i - passed, limit)
            if self.seen >= limit.window:
                self.seen = self.bad = 0
            if limit.run and self.run >= limit.run:
                return i
            if limit.share < 1 and self.bad >= limit.share * limit.window:
                return i
            self.run += 1
            self.bad += 1
            self.seen += 1
            passed = i + 1
        self.admit_valid(len(bad) - passed, limit)
        return len(bad)

    def admit_valid(self, count: int, limit: DlqLimit) -> None:
        """Count as many valid records."""
        if count:
            self.run = 0
            self.seen += count
            if self.seen > limit.window:
                self.seen, self.bad = (self.seen - 1) % limit.window + 1, 0
