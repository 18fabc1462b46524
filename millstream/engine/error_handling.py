"""A partition's invalid records, failed events, and events in the retry queue."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from millstream.engine.error_policy import DeadLetterCounter, DeadLetterLimit, ErrorPolicy, Verdict
from millstream.engine.retry_queue import Parked, RetryQueue, pack, row_key
from millstream.errors import DeclarationError
from millstream.kafka.records import ConsumerRecord
from millstream.state.errors import UnrecoverableError

logger = logging.getLogger(__name__)

FAILED = "failed"
BEHIND = "waits for an earlier event of its key"


@dataclass
class ValidatedRecords:
    """The records of a batch, after validation.

    Attributes:
        good: indices of the records that go to the agent.
        dead: records for the dead letters, with code and reason.
        refused: the first record that exceeds the dead-letter limit; None if there is none.
        parked: changes of the retry queue, by offset; None removes an event from it.
        rows: the same, as rows of the state.
        dead_letters: the dead-letter counter after them.
    """

    good: Sequence[int]
    dead_letters: DeadLetterCounter
    dead: list[tuple[ConsumerRecord, str, str]] = field(default_factory=list)
    refused: ConsumerRecord | None = None
    parked: dict[int, Parked | None] = field(default_factory=dict)
    rows: dict[bytes, bytes | None] = field(default_factory=dict)


class ErrorHandler:
    """Handles the invalid records and failed events of a partition.

    Args:
        name: the partition's name, for messages.
        policy: what its agent's exceptions mean.
        limit: the dead-letter limit, unless the policy has one.
        clock: returns the time, seconds since the epoch.

    Attributes:
        policy: what the agent's exceptions mean.
        dead_letters: the dead-letter counter.
        retry_queue: the events that wait for another try.
        failures: how often in a row the partition has started again.
    """

    def __init__(
        self, name: str, policy: ErrorPolicy, limit: DeadLetterLimit, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._name = name
        self.policy = policy
        self._limit = policy.limit or limit
        self._rejected: dict[int, str] = {}
        self._later: dict[int, str] = {}
        self.dead_letters = DeadLetterCounter()
        self.retry_queue = RetryQueue(clock)
        self.failures = 0

    def validate(
        self, records: Sequence[ConsumerRecord], decoded: Sequence[Any], *, retry: bool
    ) -> ValidatedRecords:
        """Decide what to do with each record.

        Args:
            records: the records of a batch.
            decoded: their events; an exception with `code` and `reason` stands for an invalid record.
            retry: whether these are events from the retry queue.
        """
        dead_letters = replace(self.dead_letters)
        if not (self._rejected or self._later or self.retry_queue or retry):
            return self._validate_calmly(records, decoded, dead_letters)
        good: list[int] = []
        found = ValidatedRecords(good, dead_letters)
        keep_order = self.policy.keep_order
        held = set(self.retry_queue.keys) if keep_order and not retry else set()
        for i, (record, event) in enumerate(zip(records, decoded, strict=True)):
            offset = record.offset
            dead = _invalid(event) or self._failed(offset)
            if not retry and not dead_letters.admit([dead is not None], self._limit):
                found.refused = record
                break
            if dead is not None:
                found.dead.append((record, *dead))
            elif offset in self._later:
                due = self._clock() + self.policy.delay.total_seconds()
                parked = Parked(record.key, due, self.retry_queue.attempts(offset) + 1)
                self._park(found, record, parked, self._later[offset])
                held.add(record.key)
                continue
            elif keep_order and record.key in held:
                if not retry:
                    self._park(found, record, Parked(record.key, 0.0, 0), BEHIND)
                continue
            else:
                good.append(i)
            if retry:
                found.parked[offset] = found.rows[row_key(offset)] = None
        return found

    def _validate_calmly(
        self, records: Sequence[ConsumerRecord], decoded: Sequence[Any], dead_letters: DeadLetterCounter
    ) -> ValidatedRecords:
        """Validate where no event has failed or waits, the usual case: in few steps for each record."""
        bad = [isinstance(event, Exception) for event in decoded]
        if not any(bad):
            dead_letters.admit_valid(len(records), self._limit)
            return ValidatedRecords(range(len(records)), dead_letters)
        admitted = dead_letters.admit(bad, self._limit)
        good = [i for i in range(admitted) if not bad[i]]
        dead = [(records[i], decoded[i].code, decoded[i].reason) for i in range(admitted) if bad[i]]
        refused = records[admitted] if admitted < len(records) else None
        return ValidatedRecords(good, dead_letters, dead, refused)

    def _failed(self, offset: int) -> tuple[str, str] | None:
        return (FAILED, self._rejected[offset]) if offset in self._rejected else None

    @staticmethod
    def _park(found: ValidatedRecords, record: ConsumerRecord, parked: Parked, reason: str) -> None:
        found.parked[record.offset] = parked
        found.rows[row_key(record.offset)] = pack(record, parked, reason)

    def too_many(self, record: ConsumerRecord) -> UnrecoverableError:
        """Return the error of an exceeded dead-letter limit."""
        dead_letters, limit = self.dead_letters, self._limit
        return UnrecoverableError(
            f"{self._name}: too many dead letters, {dead_letters.run} in a row, {dead_letters.bad} of the "
            f"last {dead_letters.seen} records (the limit is {limit.run or 'none'} in a row, "
            f"{limit.share:.0%} of {limit.window}); stopped before offset {record.offset}. "
            "`millstream dead-letters list` shows them. Fix what sends them; if they are acceptable, raise "
            "MILLSTREAM_DEAD_LETTER_RUN or MILLSTREAM_DEAD_LETTER_SHARE"
        )

    def accept(self, found: ValidatedRecords) -> None:
        """Take over what a batch has changed, once it is staged; a new start drops it."""
        self.dead_letters = found.dead_letters
        self.retry_queue.update(found.parked)
        for offset in found.parked:
            self._later.pop(offset, None)
        for record, _, _ in found.dead:
            self._rejected.pop(record.offset, None)

    def judge(self, failure: Exception, at: int | None, *, by_agent: bool) -> float:
        """Decide what to do about a failure.

        Args:
            failure: the exception.
            at: offset of the event that the agent was at; None if it was at none.
            by_agent: whether it comes from the agent; the engine's own failures are always retried.

        Returns:
            Seconds to wait before the partition starts again.

        Raises:
            UnrecoverableError: the partition must not start again.
        """
        if isinstance(failure, DeclarationError):
            raise UnrecoverableError(f"{self._name}: {failure}") from failure
        policy = self.policy
        verdict = policy.verdict(failure) if by_agent else Verdict.RETRY
        reason = f"{type(failure).__name__}: {failure}"
        if verdict is Verdict.RETRY:
            self.failures += 1
            if self.failures <= policy.retries:
                logger.warning(
                    "%s: failed (%d in a row), trying again", self._name, self.failures, exc_info=failure
                )
                return policy.backoff.seconds(self.failures)
            if not by_agent or policy.exhausted is Verdict.STOP or at is None:
                raise UnrecoverableError(
                    f"{self._name} failed {self.failures} times in a row: {failure!r}"
                ) from failure
            verdict = policy.exhausted
            self.failures = 0
        if verdict is Verdict.STOP or at is None:
            raise UnrecoverableError(f"{self._name}: its agent failed: {failure!r}") from failure
        origin = {"origin": f"{self._name}/{at}"}
        if verdict is Verdict.LATER and self.retry_queue.attempts(at) + 1 < policy.attempts:
            logger.warning("%s: offset %d is tried again later: %s", self._name, at, reason, extra=origin)
            self._later[at] = reason
        else:
            logger.warning("%s: offset %d is a dead letter: %s", self._name, at, reason, extra=origin)
            self._later.pop(at, None)
            self._rejected[at] = reason
        return 0.0


def _invalid(event: Any) -> tuple[str, str] | None:
    return (event.code, event.reason) if isinstance(event, Exception) else None  # type: ignore[attr-defined] # see Source
