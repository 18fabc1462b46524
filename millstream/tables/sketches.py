"""Aggregates whose rows stay small: the number of distinct values, quantiles, the largest sums.

Each is exact as long as there are few values. Above that, its error has a known bound, and its result still
depends on the events alone, not on how they were cut into batches.
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

from millstream.errors import DeclarationError
from millstream.tables.aggregates import Named, Number, Of, itself

if TYPE_CHECKING:
    from datasketches import hll_union

# Base 2 logarithm of the number of HyperLogLog registers; each takes a byte.
LG_K = 12

Figures = tuple[list[Number], dict[int, int], dict[int, int], int]
"""Few figures as a list. Many figures as counts of negative and of positive ones by bucket, and of zeros."""


class Distinct(Named):
    """The number of distinct values; `<field>_exact` says whether it is exact or an estimate.

    A row holds an 8-byte hash per value; above `exact` values, it holds a HyperLogLog of 4 KiB. The
    HyperLogLog has a relative standard error of 1.6 %; 95 of 100 estimates are within 3.3 %
    (`hll_sketch.get_rel_err`).

    Values are equal if their MessagePack encodings are equal: 1 and 1.0 are two values.

    Args:
        field: name of the result field.
        of: returns the value of an event; an event with None is left out.
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
        """Add one more event."""
        return self.add_all((value,), total)

    def add_all(self, values: Sequence[Any], total: set[int] | bytes) -> set[int] | bytes:
        """Add several more events."""
        return self._put(total, {_hash(value) for value in map(self._of, values) if value is not None})

    def merge(self, total: set[int] | bytes, more: set[int] | bytes) -> set[int] | bytes:
        """Merge the values of two chunks."""
        if isinstance(more, set):
            return self._put(total, more)
        return _sketch(total, more) if isinstance(total, set) else _packed(_union(total, more))

    def _put(self, total: set[int] | bytes, hashes: set[int]) -> set[int] | bytes:
        if isinstance(total, bytes):
            return _sketch(hashes, total)
        total |= hashes
        return total if len(total) <= self._exact else _sketch(total)

    def result(self, total: set[int] | bytes) -> dict[str, Any]:
        """Return the number, and whether it is exact."""
        if isinstance(total, set):
            return {self.field: len(total), f"{self.field}_exact": True}
        # A sketch's own estimate depends on the order of its values. A union with itself changes no register,
        # and its estimate depends on the registers alone.
        estimate = round(_union(total, total).get_estimate())
        return {self.field: max(estimate, self._exact + 1), f"{self.field}_exact": False}


def _hash(value: Any) -> int:
    return int.from_bytes(blake2b(msgspec.msgpack.encode(value), digest_size=8).digest(), signed=True)


def _sketch(hashes: Iterable[int], packed: bytes | None = None) -> bytes:
    """Add hashes to a sketch; None is the empty sketch."""
    # The import loads numpy, 20 MB: only for those who need it.
    from datasketches import hll_sketch  # noqa: PLC0415

    # Full size from the start, so that the sketch always consists of registers.
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
    """Quantiles of a figure. The result field has one entry per rank; 0.95 is "p95".

    Above `exact` figures, each quantile is within the relative `accuracy` of the exact one (DDSketch). A row
    then holds a count for each bucket that has figures; at 1 % there are 115 buckets between two powers of
    ten.

    Args:
        field: name of the result field.
        of: returns the figure of an event, which must be finite; an event with None is left out.
        ranks: the quantiles to return, from 0 (the smallest figure) to 1 (the largest).
        accuracy: the relative error, between 0 and 1.
        exact: up to how many figures the quantiles are exact.
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
        """Add one more event."""
        figure = self._of(value)
        return total if figure is None else self.merge(total, ([figure], {}, {}, 0))

    def merge(self, total: Figures, more: Figures) -> Figures:
        """Merge the figures of two chunks."""
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
        """Return the quantiles by name; each is None without events."""
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
    """The items with the largest sums of weights, largest first; items with equal sums are in item order.

    It is exact as long as there are at most `capacity` items. Above that, the larger half of the items is
    kept, and the largest sum of the others is subtracted from each (Misra and Gries). So a sum may be too
    small by up to `<field>_error`. That is 0 while the result is exact, and less than twice the sum of all
    weights / `capacity`.

    Args:
        field: name of the result field, a list.
        n: number of items in the result.
        of: returns the item of an event, a string; an event with None is left out.
        weight: returns the weight of an event, a whole number, not negative.
        capacity: number of items that are kept.

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
            raise DeclarationError(f"{field}: to show {n} items takes a capacity of {2 * n}, not {capacity}")
        super().__init__(field, of=of)
        self._n = n
        self._weight = weight
        self._capacity = capacity

    def zero(self) -> tuple[dict[str, int], int]:
        """Return the value of no events: sums by item, and how much too small they may be."""
        return {}, 0

    def add(self, total: tuple[dict[str, int], int], value: Any) -> tuple[dict[str, int], int]:
        """Add one more event; see `add_all`."""
        return self.add_all((value,), total)

    def add_all(self, values: Sequence[Any], total: tuple[dict[str, int], int]) -> tuple[dict[str, int], int]:
        """Add several more events.

        Raises:
            TypeError: an item is not a string, or its weight is not a whole number; such a row could not be
                read.
        """
        sums, error = total
        of, weight, capacity = self._of, self._weight, self._capacity
        for value in values:
            item = of(value)
            if item is None:
                continue
            if not isinstance(item, str):
                raise TypeError(f"{self.field}: the item {item!r} is not a string")
            sums[item] = sums.get(item, 0) + index(weight(value))
            if len(sums) > capacity:  # after each event, so that the batch boundaries do not matter
                sums, error = self._pruned(sums, error)
        return sums, error

    def merge(
        self, total: tuple[dict[str, int], int], more: tuple[dict[str, int], int]
    ) -> tuple[dict[str, int], int]:
        """Add the sums of two chunks."""
        sums, error = total
        for item, weight in more[0].items():
            sums[item] = sums.get(item, 0) + weight
        error += more[1]
        return (sums, error) if len(sums) <= self._capacity else self._pruned(sums, error)

    def _pruned(self, sums: dict[str, int], error: int) -> tuple[dict[str, int], int]:
        # Half of them at once, not one: otherwise each new item would cost a pass over all items.
        taken = sorted(sums.values(), reverse=True)[self._capacity // 2]
        return {item: weight - taken for item, weight in sums.items() if weight > taken}, error + taken

    def result(self, total: tuple[dict[str, int], int]) -> dict[str, Any]:
        """Return the items with their sums, and the error bound."""
        sums, error = total
        top = nsmallest(self._n, sums.items(), key=lambda pair: (-pair[1], pair[0]))
        return {
            self.field: [{"item": item, "weight": weight} for item, weight in top],
            f"{self.field}_error": error,
        }
