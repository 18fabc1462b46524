"""What happens when an agent fails at an event, and when there are too many invalid records."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from itertools import compress


class Verdict(Enum):
    """What to do about an exception.

    `RETRY` computes the batch again soon: for failures that pass quickly, or that concern all events alike.
    `LATER` puts the event into the retry queue, retries it after a delay, and goes on with the others.
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
class DeadLetterLimit:
    """How many dead letters of a partition are accepted; the worker stops at the next one.

    Attributes:
        run: most dead letters in a row, without a valid event between them; 0 for no limit.
        share: largest share of dead letters in a window; 1 for no limit.
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
        exhausted: the verdict after that. `LATER` and `DEAD_LETTER` need an exception at an event.
        backoff: time between two tries.
        delay: time until an event is tried again after `LATER`.
        attempts: how often an event is tried in all, before it becomes a dead letter.
        keep_order: whether events wait behind an earlier one of their key that waits.
        limit: the dead-letter limit; None for that of the settings.
    """

    verdicts: Mapping[type[Exception], Verdict] = field(default_factory=dict)
    otherwise: Verdict = Verdict.RETRY
    retries: int = 7
    exhausted: Verdict = Verdict.STOP
    backoff: Backoff = Backoff()
    delay: timedelta = timedelta(seconds=30)
    attempts: int = 10
    keep_order: bool = True
    limit: DeadLetterLimit | None = None

    def verdict(self, failure: Exception) -> Verdict:
        """Return what to do about an exception: the verdict of its nearest type."""
        for kind in type(failure).__mro__:
            if kind in self.verdicts:
                return self.verdicts[kind]
        return self.otherwise


@dataclass
class DeadLetterCounter:
    """Counts dead letters against a limit. Part of a partition's position: a restart continues the count.

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

    def admit(self, bad: Sequence[bool], limit: DeadLetterLimit) -> int:
        """Count records, up to the first one that exceeds the limit.

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

    def admit_valid(self, count: int, limit: DeadLetterLimit) -> None:
        """Count as many valid records."""
        if count:
            self.run = 0
            self.seen += count
            if self.seen > limit.window:
                self.seen, self.bad = (self.seen - 1) % limit.window + 1, 0
