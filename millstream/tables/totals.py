"""Totals over source partitions, by key and window: two-phase aggregation.

The first phase is a `WindowTable` in each source partition. Its *partials* are sent to the partition of their
key. A partial is an upsert: it holds everything that its partition has counted so far. Only the newest
partial of each source partition counts, so no repeat is counted twice, and an older partial that arrives late
changes nothing.
"""

from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from millstream.state.replica import Changes
from millstream.tables.aggregates import Aggregate
from millstream.tables.table import Commit
from millstream.tables.windowed import OpenWindows, WindowCallback, Windowed

A = TypeVar("A")

Partials = dict[int, tuple[int, A]]
"""By source partition: the version and value of its newest partial."""


class TotalTable(Windowed[A]):
    """Totals of windows over all source partitions.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        value: the aggregate; its `merge` combines partials into a total.
        grace: how long after its end a window takes partials; None for as long as it is kept. It must not be
            less than the grace of the tables that the partials come from, or some partials are too late.
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

    def open(
        self, commit: Commit, *, changed: WindowCallback | None = None, closed: WindowCallback | None = None
    ) -> "Totals[A]":
        """Use the table in the commit of a batch.

        Args:
            commit: the commit.
            changed: called at the end of the batch for each window that has a newer partial. The origin of
                what it sends is the last of these partials.
            closed: called at the end of the batch for each window that the batch has closed, with its final
                result. The origin of what it sends is the record that moved the watermark past it. The
                source's watermark must come from the partitions that the partials come from, see `behind` of
                `app.source_topic`.
        """
        return Totals(self, commit, changed, closed)

    def partials(self, raw: bytes | None) -> Partials[A]:
        """Decode a row's partials."""
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


class Totals(OpenWindows[A]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: TotalTable[A],
        commit: Commit,
        changed: WindowCallback | None,
        closed: WindowCallback | None,
    ) -> None:
        super().__init__(table, commit, changed, closed)
        self._table = table
        self._newest: dict[tuple[str, int], Partials[A]] = {}
        self._indices: dict[tuple[str, int, int], int] = {}
        commit.at_end(table, self._fold)

    def put(self, key: str, start: int, value: A, *, partition: int, version: int) -> None:
        """Replace an older partial; a late one goes to the source's late events.

        Args:
            key: the key of the window.
            start: first second of the window.
            value: the source partition's aggregate of the window.
            partition: the source partition.
            version: of two partials of a partition, the one with the higher version is newer.
        """
        newest = self._newest.setdefault((key, start), {})
        if partition in newest and version <= newest[partition][0]:
            return
        if self._is_past(start):
            if not self._is_stored(key, start, partition, version):  # else a repeat: nothing is lost
                self._report_late(start)
            return
        newest[partition] = (version, value)
        self._indices[key, start, partition] = self._commit.index

    def _is_stored(self, key: str, start: int, partition: int, version: int) -> bool:
        table = self._table
        stored = table.partials(self._commit.read([table.row_key(key, start)])[0])
        return partition in stored and version <= stored[partition][0]

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        totals: dict[tuple[str, int], A] = {}
        last: dict[tuple[str, int], int] = {}
        keys = [table.row_key(*window) for window in self._newest]
        for row, raw, (window, newest) in zip(keys, commit.read(keys), self._newest.items(), strict=True):
            partials = table.partials(raw)
            newer = {n: new for n, new in newest.items() if n not in partials or new[0] > partials[n][0]}
            if not newer:
                continue
            partials.update(newer)
            changes.rows[row] = msgspec.msgpack.encode(partials)
            if raw is None and table.derived is not None:
                changes.derived[table.pane_key(window[1], window[0])] = b""
            # Also if the total is unchanged: the output must not depend on how events were cut into batches.
            totals[window] = table.total(partials)
            last[window] = max(self._indices[*window, n] for n in newer)
        self._finish(totals, last, changes)
