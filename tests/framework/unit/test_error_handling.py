"""What an agent's exceptions mean, and when dead letters are too many."""

from datetime import timedelta

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from millstream.engine.error_handling import ErrorHandler
from millstream.engine.error_policy import Backoff, DeadLetterCounter, DeadLetterLimit, ErrorPolicy, Verdict
from millstream.state.errors import UnrecoverableError


def test_the_nearest_type_decides() -> None:
    policy = ErrorPolicy({OSError: Verdict.LATER, ConnectionError: Verdict.STOP}, Verdict.DEAD_LETTER)
    assert policy.verdict(ConnectionResetError()) is Verdict.STOP
    assert policy.verdict(FileNotFoundError()) is Verdict.LATER
    assert policy.verdict(ValueError()) is Verdict.DEAD_LETTER


@given(st.integers(1, 1000))
def test_backoff_grows_up_to_its_most(failures: int) -> None:
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=10))
    longest = min(10, 2 ** (failures - 1))
    assert longest / 2 <= backoff.seconds(failures) <= longest


def admitted(bad: list[bool], limit: DeadLetterLimit, cuts: list[int]) -> tuple[int, DeadLetterCounter]:
    """Count in batches that are cut anywhere, the valid ones in a hurry."""
    counter, done = DeadLetterCounter(), 0
    for size in [*cuts, len(bad)]:
        part = bad[done : done + size]
        if any(part):
            passed = counter.admit(part, limit)
        else:
            counter.admit_valid(len(part), limit)
            passed = len(part)
        done += passed
        if passed < len(part):
            break
    return done, counter


@given(st.lists(st.booleans(), max_size=60), st.lists(st.integers(1, 9), max_size=30))
def test_the_limit_does_not_depend_on_how_batches_are_cut(bad: list[bool], cuts: list[int]) -> None:
    limit = DeadLetterLimit(run=4, share=0.5, window=10)
    assert admitted(bad, limit, cuts) == admitted(bad, limit, [])


@pytest.mark.parametrize(
    ("bad", "passed"),
    [
        ([True] * 9, 4),
        ([True, True, True, False] * 3, 6),
        ([False, True] * 20, 40),
        ([False] * 100, 100),
    ],
)
def test_the_limit(bad: list[bool], passed: int) -> None:
    assert DeadLetterCounter().admit(bad, DeadLetterLimit(run=4, share=0.5, window=10)) == passed


def test_no_limit() -> None:
    assert DeadLetterCounter().admit([True] * 100, DeadLetterLimit(run=0, share=1, window=10)) == 100


def record(offset: int, key: bytes) -> ConsumerRecord:
    return ConsumerRecord("t", 0, offset, 0, 0, key, b"v", None, 1, 1, ())


RECORDS = [record(n, key) for n, key in enumerate([b"a", b"b", b"a", b"c", b"a"])]


def handler(policy: ErrorPolicy) -> ErrorHandler:
    return ErrorHandler("t/0", policy, DeadLetterLimit())


def test_an_event_for_later_holds_back_those_of_its_key() -> None:
    at = handler(ErrorPolicy({OSError: Verdict.LATER}, delay=timedelta(0)))
    assert at.judge(OSError(), 0, by_agent=True) == 0
    found = at.validate(RECORDS, RECORDS, retry=False)
    assert (list(found.good), sorted(found.parked)) == ([1, 3], [0, 2, 4])
    at.accept(found)
    assert at.retry_queue.due(10, keep_order=True) == [0, 2, 4]
    more = at.validate([record(5, b"a"), record(6, b"b")], RECORDS[:2], retry=False)
    assert (list(more.good), list(more.parked)) == ([1], [5])
    at.judge(OSError(), 2, by_agent=True)  # the first is well now, the second is not
    again = at.validate([RECORDS[n] for n in (0, 2, 4)], RECORDS[:3], retry=True)
    at.accept(again)
    assert list(again.good) == [0]
    assert at.retry_queue.due(10, keep_order=True) == [2, 4]


def test_without_order_only_the_event_waits() -> None:
    at = handler(ErrorPolicy({OSError: Verdict.LATER}, keep_order=False))
    at.judge(OSError(), 0, by_agent=True)
    found = at.validate(RECORDS, RECORDS, retry=False)
    assert (list(found.good), list(found.parked)) == ([1, 2, 3, 4], [0])


def test_attempts_end_with_a_dead_letter() -> None:
    at = handler(ErrorPolicy({OSError: Verdict.LATER}, attempts=2, delay=timedelta(0)))
    at.judge(OSError("away"), 0, by_agent=True)
    at.accept(at.validate(RECORDS, RECORDS, retry=False))
    at.judge(OSError("away"), 0, by_agent=True)
    found = at.validate(RECORDS[:1], RECORDS[:1], retry=True)
    assert found.dead == [(RECORDS[0], "failed", "OSError: away")]
    at.accept(found)
    assert at.retry_queue.due(10, keep_order=True) == [2, 4]


def test_retries_are_bounded_and_the_engines_own_failures_are_always_tried_again() -> None:
    at = handler(ErrorPolicy({}, Verdict.STOP, retries=2))
    assert at.judge(OSError(), None, by_agent=False) > 0
    with pytest.raises(UnrecoverableError, match="its agent failed"):
        at.judge(OSError(), 0, by_agent=True)
    at.judge(OSError(), None, by_agent=False)
    with pytest.raises(UnrecoverableError, match="failed 3 times in a row"):
        at.judge(OSError(), None, by_agent=False)


def test_after_the_retries_an_event_may_be_a_dead_letter() -> None:
    at = handler(ErrorPolicy(retries=1, exhausted=Verdict.DEAD_LETTER))
    at.judge(OSError("x"), 3, by_agent=True)
    assert at.judge(OSError("x"), 3, by_agent=True) == 0
    assert at.validate(RECORDS, RECORDS, retry=False).dead == [(RECORDS[3], "failed", "OSError: x")]
