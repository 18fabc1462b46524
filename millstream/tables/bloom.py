"""A scalable Bloom filter that handles many keys at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Capacity of the first filter, which takes 1 MiB, and the growth factor of each further filter's capacity.
FIRST_KEYS = 640_000
GROWTH = 4
# Each key sets KEY_BITS of the 64 bits of one word. A filter has BITS_PER_KEY bits per key of its capacity,
# or up to twice as many. The false-positive rate is 1 %.
KEY_BITS = 4
BITS_PER_KEY = 13

_WORD = 64
# The bit patterns that keys set in their words. They are few enough to stay in a core's own cache, and many
# enough that two keys of a word rarely have the same pattern.
_PATTERNS_LOG = 12
_PATTERNS = np.bitwise_or.reduce(
    np.uint64(1)
    << np.random.default_rng(0).integers(_WORD, size=(1 << _PATTERNS_LOG, KEY_BITS), dtype=np.uint64),
    axis=1,
)


class _Hashes(NamedTuple):
    """Hashes of keys: the index of each key's word, not yet cut to the filter's size, and its bit pattern."""

    places: NDArray[np.int64]
    bits: NDArray[np.uint64]


def _hashes(keys: Sequence[bytes]) -> _Hashes:
    hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
    return _Hashes(hashes >> _PATTERNS_LOG, _PATTERNS[hashes & (len(_PATTERNS) - 1)])


class ScalableBloomFilter:
    """A set of keys with false positives; it takes two bytes per key.

    It is *scalable*: a series of ever larger filters, so it needs no expected number of keys. It is
    *blocked*: all bits of a key are in one word, so each filter costs one memory access per key, and the
    accesses for many keys overlap.
    """

    def __init__(self) -> None:
        self._filters: list[NDArray[np.uint64]] = []
        self._room = 0

    def update(self, keys: Sequence[bytes]) -> None:
        """Add keys."""
        if self._room <= 0:
            self._room = FIRST_KEYS * GROWTH ** len(self._filters)
            size = 1 << (self._room * BITS_PER_KEY // _WORD).bit_length()
            self._filters.append(np.zeros(size, np.uint64))
        self._room -= len(keys)
        places, bits = _hashes(keys)
        words = self._filters[-1]
        np.bitwise_or.at(words, places & (len(words) - 1), bits)

    def candidates(self, keys: Sequence[bytes]) -> list[int]:
        """Return the indices, in order, of the keys that may be in the set. No added key is missing."""
        if not self._filters:
            return []
        places, bits = _hashes(keys)
        found = np.zeros(len(keys), np.bool_)
        for words in self._filters:
            found |= words[places & (len(words) - 1)] & bits == bits
        return found.nonzero()[0].tolist()
