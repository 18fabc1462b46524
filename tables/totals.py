"""Totals over source partitions, per key and window: two-phase aggregation.

The first phase is a `WindowTable` beside each source partition, whose *partials* are sent to the partition of
their key. A partial is an upsert: it holds all that its partition has counted so far. Of each source
partition the newest counts, so no repeat is counted twice, and an old one that comes late changes nothing.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from tables.aggregates import Aggregate
from tables.replica import Changes
from tables.table import Out
from tables.windows import Window, Windowed

A = TypeVar("A")

Partials = dict[int, tuple[int, A]]
"""By source partition: the version of its newest partial, and its value."""


class TotalTable(Windowed[A]):
    """Totals of the windows of all source partitions; see `tables.windows.Windowed`."""

    def __init__(self, name: str, *, size: timedelta, value: Aggregate[A, Any]) -> None:
        super().__init__(name, size=size, step=size, value=value)
        self.kind = f"totals of windows of {size}"
        kept: Any = value.type
        self._decode = msgspec.msgpack.Decoder(dict[int, tuple[int, kept]]).decode

    def open(self, out: Out, *, changed: Callable[[Window], None] | None = None) -> "Totals[A]":
        """Use the table in the commit of a batch.

        Args:
            out: the commit.
            changed: called at the end for each window that has a newer partial; what it sends has the
                last of these as its origin.
        """
        return Totals(self, out, changed)

    def partials(self, raw: bytes | None) -> Partials[A]:
        """Return a row's partials."""
        return {} if raw is None else self._decode(raw)

    def total(self, partials: Partials[A]) -> A:
        """Merge partials."""
        total = self.value.zero()
        for _, (_, value) in sorted(partials.items()):  # sums of floats depend on the order
            total = self.value.merge(total, value)
        return total

    def decode(self, raw: bytes | None) -> A:
        """Return a row's total."""
        return self.total(self.partials(raw))


class Totals(Generic[A]):
    """The table in the commit of one batch."""

    def __init__(self, table: TotalTable[A], out: Out, changed: Callable[[Window], None] | None) -> None:
        self._table = table
        self._out = out
        self._changed = changed
        self._newest: dict[tuple[str, int], Partials[A]] = {}
        self._came: dict[tuple[str, int, int], int] = {}
        out.at_end(self._fold)

    def put(self, key: str, start: int, value: A, *, partition: int, version: int) -> None:
        """Put a partial in the place of older ones.

        Args:
            key: what is aggregated by.
            start: first second of the window.
            value: what a source partition has aggregated in the window.
            partition: the source partition.
            version: of two partials of a partition the one with the higher version is newer.
        """
        newest = self._newest.setdefault((key, start), {})
        if partition not in newest or version > newest[partition][0]:
            newest[partition] = (version, value)
            self._came[key, start, partition] = self._out.index

    def _fold(self, changes: Changes) -> None:
        table, out, changed = self._table, self._out, self._changed
        keys = [table.row_key(key, start) for key, start in self._newest]
        for row, raw, (window, newest) in zip(keys, out.read(keys), self._newest.items(), strict=True):
            partials = table.partials(raw)
            newer = {n: new for n, new in newest.items() if n not in partials or new[0] > partials[n][0]}
            if not newer:
                continue
            partials.update(newer)
            changes.rows[row] = msgspec.msgpack.encode(partials)
            if changed is not None:
                # Always, also for an equal total: how the events were cut into batches must not matter.
                out.index = max(self._came[*window, n] for n in newer)
                changed(table.window(*window, table.total(partials)))
