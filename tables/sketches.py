"""Aggregates whose rows stay small: the number of distinct values, quantiles, the largest sums.

Each is exact while there are few values. Above that it has an error with a known bound, and still depends on
the events alone, not on how they were cut into batches.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from heapq import nsmallest
from operator import index
from typing import TYPE_CHECKING, Any

import msgspec
from ddsketch.ddsketch import BaseDDSketch
from ddsketch.mapping import LogarithmicMapping
from ddsketch.store import DenseStore

from tables.aggregates import Named, Number, Of, itself

if TYPE_CHECKING:
    from datasketches import hll_union

# Base 2 logarithm of the HyperLogLog's registers, a byte each.
LG_K = 12

Figures = tuple[list[Number], dict[int, int], dict[int, int], int]
"""Few figures as they are; of many, counts of negative and of positive ones by bucket, and of zeros."""


class Distinct(Named):
    """Number of distinct values; `<field>_exact` says whether it is exact or an estimate.

    A row holds a hash of 8 bytes for each value, above `exact` of them a HyperLogLog of 4 KiB. That has a
    relative standard error of 1.6 %; 95 of 100 estimates are within 3.3 % (`hll_sketch.get_rel_err`).

    Values are the same if they are written the same in MessagePack: 1 and 1.0 are two.

    Args:
        field: name of the number where it is shown.
        of: the value of an event; None leaves the event out.
        exact: how many values are counted exactly; 400 take as many bytes as the HyperLogLog.
    """

    type: Any = set[int] | bytes

    def __init__(self, field: str = "distinct", *, of: Of = itself, exact: int = 400) -> None:
        super().__init__(field, of=of)
        self._exact = exact

    def zero(self) -> set[int] | bytes:
        """Return the value of no events."""
        return set()

    def add(self, total: set[int] | bytes, value: Any) -> set[int] | bytes:
        """Take one more event into account."""
        return self.add_all((value,), total)

    def add_all(self, values: Sequence[Any], total: set[int] | bytes) -> set[int] | bytes:
        """Take several more events into account."""
        return self._put(total, {_hash(value) for value in map(self._of, values) if value is not None})

    def merge(self, total: set[int] | bytes, more: set[int] | bytes) -> set[int] | bytes:
        """Put the values of two stretches together."""
        if isinstance(more, set):
            return self._put(total, more)
        return _sketch(total, more) if isinstance(total, set) else _packed(_union(total, more))

    def _put(self, total: set[int] | bytes, hashes: set[int]) -> set[int] | bytes:
        if isinstance(total, bytes):
            return _sketch(hashes, total)
        total |= hashes
        return total if len(total) <= self._exact else _sketch(total)

    def result(self, total: set[int] | bytes) -> dict[str, Any]:
        """Return the number under its name, and whether it is exact."""
        if isinstance(total, set):
            return {self.field: len(total), f"{self.field}_exact": True}
        # A sketch's own estimate depends on the order of its values. A union with itself changes no register,
        # and estimates by the registers alone.
        estimate = round(_union(total, total).get_estimate())
        return {self.field: max(estimate, self._exact + 1), f"{self.field}_exact": False}


def _hash(value: Any) -> int:
    return int.from_bytes(blake2b(msgspec.msgpack.encode(value), digest_size=8).digest(), signed=True)


def _sketch(hashes: Iterable[int], packed: bytes | None = None) -> bytes:
    """Add hashes to a sketch; None is the empty one."""
    # It brings numpy, 20 MB: only for who needs it.
    from datasketches import hll_sketch  # noqa: PLC0415

    # At its full size from the start, so that it is made of registers alone.
    sketch = hll_sketch(LG_K, start_max_size=True) if packed is None else hll_sketch.deserialize(packed)
    for value in hashes:
        sketch.update(value)
    return bytes(sketch.serialize_compact())


def _union(*packed: bytes) -> "hll_union":
    from datasketches import hll_sketch, hll_union  # noqa: PLC0415

    union = hll_union(LG_K)
    for one in packed:
        union.update(hll_sketch.deserialize(one))
    return union


def _packed(union: "hll_union") -> bytes:
    from datasketches import tgt_hll_type  # noqa: PLC0415

    return bytes(union.get_result(tgt_hll_type.HLL_8).serialize_compact())


class Quantiles(Named):
    """Quantiles of a figure: under the field one for each rank, 0.95 as "p95".

    Above `exact` figures, each is within the relative `accuracy` of the exact one (DDSketch). A row then
    holds a count for each bucket that a figure lies in; at 1 % there are 115 between two powers of ten.

    Args:
        field: name of the quantiles where they are shown.
        of: the figure of an event, finite; None leaves the event out.
        ranks: which quantiles, from 0 (the smallest figure) to 1 (the largest).
        accuracy: the relative error, between 0 and 1.
        exact: of how many figures they are exact.
    """

    type: Any = Figures

    def __init__(
        self,
        field: str = "quantiles",
        *,
        of: Of = itself,
        ranks: Sequence[float] = (0.5, 0.95, 0.99),
        accuracy: float = 0.01,
        exact: int = 100,
    ) -> None:
        super().__init__(field, of=of)
        self._ranks = {f"p{rank * 100:g}": rank for rank in ranks}
        self._buckets = LogarithmicMapping(accuracy)
        self._exact = exact

    def zero(self) -> Figures:
        """Return the value of no events."""
        return [], {}, {}, 0

    def add(self, total: Figures, value: Any) -> Figures:
        """Take one more event into account."""
        figure = self._of(value)
        return total if figure is None else self.merge(total, ([figure], {}, {}, 0))

    def merge(self, total: Figures, more: Figures) -> Figures:
        """Put the figures of two stretches together."""
        figures, negative, positive, zeros = total
        figures += more[0]
        for buckets, added in ((negative, more[1]), (positive, more[2])):
            for bucket, count in added.items():
                buckets[bucket] = buckets.get(bucket, 0) + count
        zeros += more[3]
        if len(figures) <= self._exact and not (negative or positive or zeros):
            return total
        least, bucket_of = self._buckets.min_possible, self._buckets.key
        for figure in figures:
            if -least <= figure <= least:
                zeros += 1
            else:
                buckets, bucket = negative if figure < 0 else positive, bucket_of(abs(figure))
                buckets[bucket] = buckets.get(bucket, 0) + 1
        return [], negative, positive, zeros

    def result(self, total: Figures) -> dict[str, Any]:
        """Return the quantiles under their names; None of no events."""
        figures, negative, positive, zeros = total
        if figures:
            ordered = sorted(figures)
            last = len(ordered) - 1
            return {self.field: {name: ordered[int(rank * last)] for name, rank in self._ranks.items()}}
        sketch = BaseDDSketch(self._buckets, _store(positive), _store(negative), zeros)
        return {self.field: {name: sketch.get_quantile_value(rank) for name, rank in self._ranks.items()}}


def _store(buckets: dict[int, int]) -> DenseStore:
    store = DenseStore()
    for bucket, count in sorted(buckets.items()):
        store.add(bucket, count)
    return store


class TopN(Named):
    """The items with the largest sums of weights, the largest first, of equal ones by item.

    Exact while there are at most `capacity` items. Then the larger half of them is kept, and each loses what
    the largest of the others had (Misra and Gries): a sum may be too small by up to `<field>_error`. That is
    0 while exact, and less than twice the sum of all weights / `capacity`.

    Args:
        field: name of the list where it is shown.
        n: how many items are shown.
        of: the item of an event, a string; None leaves the event out.
        weight: of an event, a whole number, not negative.
        capacity: how many items are kept.

    Raises:
        ValueError: `capacity` is less than twice `n`.
    """

    type: Any = tuple[dict[str, int], int]

    def __init__(
        self,
        field: str = "top",
        n: int = 10,
        *,
        of: Of = itself,
        weight: Of = lambda _: 1,
        capacity: int = 1000,
    ) -> None:
        if capacity < 2 * n:
            raise ValueError(f"{field}: to show {n} items takes a capacity of {2 * n}, not {capacity}")
        super().__init__(field, of=of)
        self._n = n
        self._weight = weight
        self._capacity = capacity

    def zero(self) -> tuple[dict[str, int], int]:
        """Return the value of no events: sums by item, and how much they may be too small."""
        return {}, 0

    def add(self, total: tuple[dict[str, int], int], value: Any) -> tuple[dict[str, int], int]:
        """Take one more event into account; see `add_all`."""
        return self.add_all((value,), total)

    def add_all(self, values: Sequence[Any], total: tuple[dict[str, int], int]) -> tuple[dict[str, int], int]:
        """Take several more events into account.

        Raises:
            TypeError: the item is no string, or its weight no whole number; a row of them could not be read.
        """
        sums, error = total
        of, weight, capacity = self._of, self._weight, self._capacity
        for value in values:
            item = of(value)
            if item is None:
                continue
            if not isinstance(item, str):
                raise TypeError(f"{self.field}: the item {item!r} is no string")
            sums[item] = sums.get(item, 0) + index(weight(value))
            if len(sums) > capacity:  # at once, so that it does not matter how events are cut into batches
                sums, error = self._pruned(sums, error)
        return sums, error

    def merge(
        self, total: tuple[dict[str, int], int], more: tuple[dict[str, int], int]
    ) -> tuple[dict[str, int], int]:
        """Add the sums of two stretches."""
        sums, error = total
        for item, weight in more[0].items():
            sums[item] = sums.get(item, 0) + weight
        error += more[1]
        return (sums, error) if len(sums) <= self._capacity else self._pruned(sums, error)

    def _pruned(self, sums: dict[str, int], error: int) -> tuple[dict[str, int], int]:
        # Half at once, not one: else each new item would cost a look at all.
        taken = sorted(sums.values(), reverse=True)[self._capacity // 2]
        return {item: weight - taken for item, weight in sums.items() if weight > taken}, error + taken

    def result(self, total: tuple[dict[str, int], int]) -> dict[str, Any]:
        """Return the items with their sums under the field's name, and the bound of the error."""
        sums, error = total
        top = nsmallest(self._n, sums.items(), key=lambda pair: (-pair[1], pair[0]))
        return {
            self.field: [{"item": item, "weight": weight} for item, weight in top],
            f"{self.field}_error": error,
        }
