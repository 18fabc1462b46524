"""The events: the same seed gives the same bytes in the same order."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random

from bench.windows.lengths import GRACE
from millstream.sources.record import Record

START = 1_767_225_600  # 2026-01-01T00:00:00Z
RATE = 1000
# With one event a second a key is silent for as long as a gap of four seconds after one in fifty.
KEYS = 1000
# With ten a second, a window that closes each second is told of ten.
DENSE_KEYS = 100
VALUES = 1000
# Behind the newest by less than the grace: none is late.
DISORDER = GRACE // timedelta(milliseconds=1)


def events(count: int, seed: int, keys: int = KEYS) -> Iterator[Record]:
    """Make up the first `count` events; fewer are a prefix of more."""
    random = Random(seed).random
    for n in range(count):
        key = f"key-{int(random() * keys):03d}"
        millis = START * 1000 + n * 1000 // RATE - int(random() * DISORDER)
        value = f'{{"key":"{key}","value":{int(random() * VALUES)},"timestamp":{millis}}}'
        yield Record(key.encode(), value.encode(), millis / 1000)
