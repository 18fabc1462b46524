"""The ad events: the same seed gives the same bytes in the same order."""

from collections.abc import Iterator
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count as counter
from itertools import islice
from random import Random

from bench.yahoo.campaigns import ADS, CAMPAIGNS, name
from millstream.sources.record import Record

START = 1_767_225_600  # 2026-01-01T00:00:00Z
RATE = 1000
DUPLICATES = 0.05
# A repeat follows its first sending within so many records.
REPEAT_RECORDS = 500
NAMES = 100
AD_TYPES = ("banner", "modal", "sponsored-search", "mail", "mobile")
EVENT_TYPES = ("view", "click", "purchase")
# Odd, so that multiplying by it modulo 2**64 gives each number another one: ids that look random.
SCRAMBLE = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def events(count: int, seed: int) -> Iterator[Record]:
    """Make up the first `count` events; fewer are a prefix of more."""
    return islice(_events(seed), count)


def _events(seed: int) -> Iterator[Record]:
    random = Random(seed).random
    run = blake2b(f"ads-{seed}".encode(), digest_size=4).hexdigest()
    users = [name("user", number) for number in range(NAMES)]
    pages = [name("page", number) for number in range(NAMES)]
    ads = [name("ad", number) for number in range(CAMPAIGNS * ADS)]

    def one(of: list[str] | tuple[str, ...]) -> str:
        return of[int(random() * len(of))]

    repeats: list[tuple[int, int, Record]] = []
    for n in counter():
        if repeats and repeats[0][0] <= n:
            yield heappop(repeats)[2]
            continue
        user, millis = one(users), START * 1000 + n * 1000 // RATE
        value = (
            f'{{"event_id":"{run}{n * SCRAMBLE & MASK:016x}","user_id":"{user}","page_id":"{one(pages)}",'
            f'"ad_id":"{one(ads)}","ad_type":"{one(AD_TYPES)}","event_type":"{one(EVENT_TYPES)}",'
            f'"event_time":{millis},"ip_address":"1.2.3.4"}}'
        )
        record = Record(user.encode(), value.encode(), millis / 1000)
        if random() < DUPLICATES:
            heappush(repeats, (n + 1 + int(REPEAT_RECORDS * random() ** 3), n, record))
        yield record
