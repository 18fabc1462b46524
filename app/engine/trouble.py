"""A partition's troublesome events: those that are none, that fail, and that wait to be tried again."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.engine.errors import DlqLimit, ErrorPolicy, Flood, Verdict
from app.engine.restore import HopelessError
from app.engine.source import ConsumerRecord
from app.engine.waiting import Parked, Waiting, pack, row_key

logger = logging.getLogger(__name__)

FAILED = "failed"
BEHIND = "waits for an earlier event of its key"


@dataclass
class Sorted:
    """The records of a batch, by what becomes of them.

    Attributes:
        good: indices of those that go to the agent.
        dead: records for the dead letters, with code and reason.
        refused: the first one that the limit of dead letters has not let pass; None if all have.
        parked: by offset, what changes about the events that wait; None: it waits no more.
        rows: the same, as rows of the state.
        flood: the count of dead letters after them.
    """

    good: Sequence[int]
    flood: Flood
    dead: list[tuple[ConsumerRecord, str, str]] = field(default_factory=list)
    refused: ConsumerRecord | None = None
    parked: dict[int, Parked | None] = field(default_factory=dict)
    rows: dict[bytes, bytes | None] = field(default_factory=dict)


class Trouble:
    """What a partition knows of its troublesome events.

    Args:
        name: the partition's, for messages.
        policy: what its agent's exceptions mean.
        limit: of the dead letters.
        clock: tells the time, seconds since the epoch.

    Attributes:
        policy: what the agent's exceptions mean.
        flood: the count of dead letters.
        waiting: the events that wait to be tried again.
        failures: how often in a row the partition has begun again.
    """

    def __init__(
        self, name: str, policy: ErrorPolicy, limit: DlqLimit, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._name = name
        self.policy = policy
        self._limit = policy.limit or limit
        self._rejected: dict[int, str] = {}
        self._later: dict[int, str] = {}
        self.flood = Flood()
        self.waiting = Waiting(clock)
        self.failures = 0

    def sort(self, records: Sequence[ConsumerRecord], decoded: Sequence[Any], *, retry: bool) -> Sorted:
        """Tell what becomes of each record.

        Args:
            records: the records of a batch.
            decoded: their events; exceptions with `code` and `reason` stand for what is none.
            retry: whether these are events that have waited.
        """
        flood = replace(self.flood)
        if not (self._rejected or self._later or self.waiting or retry):
            return self._sort_calmly(records, decoded, flood)
        good: list[int] = []
        found = Sorted(good, flood)
        keep_order = self.policy.keep_order
        held = set(self.waiting.keys) if keep_order and not retry else set()
        for i, (record, event) in enumerate(zip(records, decoded, strict=True)):
            offset = record.offset
            dead = _invalid(event) or self._failed(offset)
            if not retry and not flood.admit([dead is not None], self._limit):
                found.refused = record
                break
            if dead is not None:
                found.dead.append((record, *dead))
            elif offset in self._later:
                due = self._clock() + self.policy.delay.total_seconds()
                parked = Parked(record.key, due, self.waiting.attempts(offset) + 1)
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

    def _sort_calmly(self, records: Sequence[ConsumerRecord], decoded: Sequence[Any], flood: Flood) -> Sorted:
        """Do so where no event has failed or waits, as nearly always: in few steps for each record."""
        bad = [isinstance(event, Exception) for event in decoded]
        if not any(bad):
            flood.admit_valid(len(records), self._limit)
            return Sorted(range(len(records)), flood)
        admitted = flood.admit(bad, self._limit)
        good = [i for i in range(admitted) if not bad[i]]
        dead = [(records[i], decoded[i].code, decoded[i].reason) for i in range(admitted) if bad[i]]
        refused = records[admitted] if admitted < len(records) else None
        return Sorted(good, flood, dead, refused)

    def _failed(self, offset: int) -> tuple[str, str] | None:
        return (FAILED, self._rejected[offset]) if offset in self._rejected else None

    @staticmethod
    def _park(found: Sorted, record: ConsumerRecord, parked: Parked, reason: str) -> None:
        found.parked[record.offset] = parked
        found.rows[row_key(record.offset)] = pack(record, parked, reason)

    def too_many(self, record: ConsumerRecord) -> HopelessError:
        """Say that the limit of dead letters is reached."""
        flood, limit = self.flood, self._limit
        return HopelessError(
            f"{self._name}: a flood of dead letters, {flood.run} in a row, {flood.bad} of the last "
            f"{flood.seen} records (the limit is {limit.run or 'none'} in a row, {limit.share:.0%} of "
            f"{limit.window}); stopped before offset {record.offset}. `millstream dead-letters list` shows "
            "them. Mend what sends them; if they are to pass, raise MILLSTREAM_DEAD_LETTER_RUN or "
            "MILLSTREAM_DEAD_LETTER_SHARE"
        )

    def accept(self, found: Sorted) -> None:
        """Take over what a batch has changed, once it is sure to be committed, or dropped by a new start."""
        self.flood = found.flood
        self.waiting.update(found.parked)
        for offset in found.parked:
            self._later.pop(offset, None)
        for record, _, _ in found.dead:
            self._rejected.pop(record.offset, None)

    def judge(self, failure: Exception, at: int | None, *, by_agent: bool) -> float:
        """Decide what a failure means.

        Args:
            failure: the exception.
            at: offset of the event that the agent was at; None if it was at none.
            by_agent: whether it comes from the agent; the engine's own failures are always tried again.

        Returns:
            How long to wait before the partition begins again, seconds.

        Raises:
            HopelessError: it must not.
        """
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
                raise HopelessError(f"{self._name} failed {self.failures} times in a row: {failure!r}")
            verdict = policy.exhausted
            self.failures = 0
        if verdict is Verdict.STOP or at is None:
            raise HopelessError(f"{self._name}: its agent failed: {failure!r}")
        origin = {"origin": f"{self._name}/{at}"}
        if verdict is Verdict.LATER and self.waiting.attempts(at) + 1 < policy.attempts:
            logger.warning("%s: offset %d is tried again later: %s", self._name, at, reason, extra=origin)
            self._later[at] = reason
        else:
            logger.warning("%s: offset %d is a dead letter: %s", self._name, at, reason, extra=origin)
            self._later.pop(at, None)
            self._rejected[at] = reason
        return 0.0


def _invalid(event: Any) -> tuple[str, str] | None:
    return (event.code, event.reason) if isinstance(event, Exception) else None  # type: ignore[attr-defined] # see Source
