"""Totals over source partitions, per key and window: two-phase aggregation.

The first phase is a `WindowTable` beside each source partition, whose *partials* are sent to the partition of
their key. A partial is an upsert: it holds all that its partition has counted so far. Of each source
partition the newest counts, so no repeat is counted twice, and an old one that comes late changes nothing.
"""

from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from tables.aggregates import Aggregate
from tables.replica import Changes
from tables.table import Out
from tables.windowed import Opened, Tell, Windowed

A = TypeVar("A")

Partials = dict[int, tuple[int, A]]
"""By source partition: the version of its newest partial, and its value."""


class TotalTable(Windowed[A]):
    """Totals of the windows of all source partitions.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        value: how partials become a total: by its `merge`.
        grace: how long after its end a window takes partials; None for as long as it is kept. Not less than
            the grace of the tables that the partials come from, or some of them come too late.
        keep: how long after its end a window is kept; None for ever.
    """

    def __init__(
        self,
        name: str,
        *,
        size: timedelta,
        value: Aggregate[A, Any],
        grace: timedelta | None = None,
        keep: timedelta | None = None,
    ) -> None:
        super().__init__(name, size=size, step=size, value=value, grace=grace, keep=keep)
        self.kind = f"totals of windows of {size}"
        kept: Any = value.type
        self._decode = msgspec.msgpack.Decoder(dict[int, tuple[int, kept]]).decode

    def open(self, out: Out, *, changed: Tell | None = None, closed: Tell | None = None) -> "Totals[A]":
        """Use the table in the commit of a batch.

        Args:
            out: the commit.
            changed: called at the end for each window that has a newer partial; what it sends has the
                last of these as its origin.
            closed: called at the end for each window that the batch has closed, with its final result; what
                it sends has what moved the watermark past it as its origin. The source's watermark must come
                from the partitions that the partials come from, `source_topic(…, behind=…)`.
        """
        return Totals(self, out, changed, closed)

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


class Totals(Opened[A]):
    """The table in the commit of one batch."""

    def __init__(self, table: TotalTable[A], out: Out, changed: Tell | None, closed: Tell | None) -> None:
        super().__init__(table, out, changed, closed)
        self._table = table
        self._newest: dict[tuple[str, int], Partials[A]] = {}
        self._came: dict[tuple[str, int, int], int] = {}
        out.at_end(self._fold)

    def put(self, key: str, start: int, value: A, *, partition: int, version: int) -> None:
        """Put a partial in the place of older ones; if it is too late, it goes to the source's late events.

        Args:
            key: what is aggregated by.
            start: first second of the window.
            value: what a source partition has aggregated in the window.
            partition: the source partition.
            version: of two partials of a partition the one with the higher version is newer.
        """
        newest = self._newest.setdefault((key, start), {})
        if partition in newest and version <= newest[partition][0]:
            return
        if self._is_past(start):
            if not self._is_stored(key, start, partition, version):  # else a repeat: nothing is missing
                self._tell_late(start)
            return
        newest[partition] = (version, value)
        self._came[key, start, partition] = self._out.index

    def _is_stored(self, key: str, start: int, partition: int, version: int) -> bool:
        table = self._table
        stored = table.partials(self._out.read([table.row_key(key, start)])[0])
        return partition in stored and version <= stored[partition][0]

    def _fold(self, changes: Changes) -> None:
        table, out = self._table, self._out
        totals: dict[tuple[str, int], A] = {}
        last: dict[tuple[str, int], int] = {}
        keys = [table.row_key(*window) for window in self._newest]
        for row, raw, (window, newest) in zip(keys, out.read(keys), self._newest.items(), strict=True):
            partials = table.partials(raw)
            newer = {n: new for n, new in newest.items() if n not in partials or new[0] > partials[n][0]}
            if not newer:
                continue
            partials.update(newer)
            changes.rows[row] = msgspec.msgpack.encode(partials)
            if raw is None and table.derived is not None:
                changes.derived[table.pane_key(window[1], window[0])] = b""
            # Also for an equal total: how the events were cut into batches must not matter.
            totals[window] = table.total(partials)
            last[window] = max(self._came[*window, n] for n in newer)
        self._finish(totals, last, changes)
