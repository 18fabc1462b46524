"""A Bloom filter that grows, for many keys at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The first filter's keys, in 1 MiB; each further one has room for so many times as many.
FIRST_KEYS = 640_000
GROWTH = 4
# Of 64 bits a key sets so many, and there are so many for a key, or up to twice as many: one in a hundred
# others is taken for one that was added.
KEY_BITS = 4
BITS_PER_KEY = 13

_WORD = 64
# Which bits of its word a key sets. They are few enough to stay in a core's own cache, and many enough that
# two keys of a word rarely have the same.
_PATTERNS_LOG = 12
_PATTERNS = np.bitwise_or.reduce(
    np.uint64(1)
    << np.random.default_rng(0).integers(_WORD, size=(1 << _PATTERNS_LOG, KEY_BITS), dtype=np.uint64),
    axis=1,
)


class _Hashes(NamedTuple):
    """What a filter knows of keys: numbers of their words, to be cut to its size, and their bits in them."""

    places: NDArray[np.int64]
    bits: NDArray[np.uint64]


def _hashes(keys: Sequence[bytes]) -> _Hashes:
    hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
    return _Hashes(hashes >> _PATTERNS_LOG, _PATTERNS[hashes & (len(_PATTERNS) - 1)])


class ScalableBloomFilter:
    """A set of keys, in two bytes for each, that takes some keys for its own that are not.

    It is *scalable*, a series of ever larger filters, so that it need not be told how many keys will come;
    and *blocked*: all bits of a key are in one word, so that each filter's memory is waited for once, and
    for many keys together.
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
        """Return the indices, in order, of the keys that it may hold: all that were added are among them."""
        if not self._filters:
            return []
        places, bits = _hashes(keys)
        found = np.zeros(len(keys), np.bool_)
        for words in self._filters:
            found |= words[places & (len(words) - 1)] & bits == bits
        return found.nonzero()[0].tolist()
