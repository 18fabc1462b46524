"""Synthetic visitors of a shop: the same seed and start give the same bytes in the same order."""

from collections.abc import Iterator
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count as counter
from random import Random
from time import gmtime, strftime

from app.generator.broken import broken
from app.generator.visits import Visits
from millstream.sources.record import Record

# Events per second of event time if the rate is not limited.
UNPACED_RATE = 10_000
# A repeat follows its original within this many records and seconds of event time. That is less than the time
# that the service keeps an event_id.
REPEAT_RECORDS = 500
REPEAT_SECONDS = 240
LATE_MINUTES = (2, 9)
# Odd, so that multiplication modulo 2**64 is a bijection: ids that look random.
SCRAMBLE = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def events(
    seed: int,
    *,
    count: int | None,
    rate: float,
    start: float,
    users: int,
    pages: int,
    duplicates: float,
    invalid: float,
    late: float,
) -> Iterator[Record]:
    """Generate user activity, as fast as it is consumed.

    Args:
        seed: seed of the random numbers.
        count: number of records, including repeats and broken ones; None for no limit.
        rate: records per second of event time; 0 is `UNPACED_RATE`.
        start: event time of the first record, seconds since the epoch.
        users: number of users, from 1; the first is the busiest.
        pages: number of pages, from 1; the first is the most viewed.
        duplicates: share of the events that are repeated later, 0 to 1.
        invalid: share of the events whose value is broken, 0 to 1.
        late: share of the events whose event time is some minutes earlier, 0 to 1.

    Yields:
        Records in sending order; all records of a user have the same key.
    """
    # Only random(): the one method whose numbers are the same in all versions of Python.
    random = Random(seed).random  # noqa: S311 (made-up data, no secrets) # nosec B311
    options = (seed, float(rate), float(start), users, pages, float(duplicates), float(invalid), float(late))
    run = blake2b(repr(options).encode(), digest_size=4).hexdigest()
    visits = Visits(run, users, pages, random)
    step = 1e6 / (rate or UNPACED_RATE)
    first = round(start * 1e6)
    gap = min(REPEAT_RECORDS, max(1, int((rate or UNPACED_RATE) * REPEAT_SECONDS)))
    shortest, longest = LATE_MINUTES
    repeats: list[tuple[int, int, Record]] = []
    second, prefix = -1, ""

    for n in counter() if count is None else range(count):
        # Towards the end, the pending repeats take the remaining places.
        if repeats and (repeats[0][0] <= n or (count is not None and len(repeats) >= count - n)):
            yield heappop(repeats)[2]
            continue
        moment = first + int(n * step)
        if late and random() < late:
            moment = max(0, moment - int((shortest + random() * (longest - shortest)) * 60e6))
        whole, micros = divmod(moment, 1_000_000)
        if whole != second:
            second, prefix = whole, strftime("%Y-%m-%dT%H:%M:%S", gmtime(whole))
        event_id = f"{run}{n * SCRAMBLE & MASK:016x}"
        timestamp = f"{prefix}.{micros:06d}Z"
        user = visits.user()
        if invalid and random() < invalid:
            value = broken(visits.view(user, event_id, timestamp), random)
            yield Record(visits.keys[user], value, moment / 1e6)
            continue
        record = Record(visits.keys[user], visits.event(user, event_id, timestamp).encode(), moment / 1e6)
        if duplicates and random() < duplicates:
            heappush(repeats, (n + 1 + int(gap * random() ** 3), n, record))
        yield record
