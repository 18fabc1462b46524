"""Aggregates per key and window of event time.

A window takes events until the partition's watermark (its largest event time, less the out-of-orderness
that its source allows) has passed its end by the table's *grace*. Then it closes: its final result is told
once, and an event that comes later is *late*. It is kept for queries as long as the table says.

Windows that overlap share *panes*, each as long as a step: an event is stored once, not in every window. So
that all windows agree on what they hold, a pane takes no more events when the first window that it is in
has closed.
"""

from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from tables.aggregates import Aggregate, adder
from tables.replica import Changes
from tables.table import Out
from tables.windowed import Opened, Tell, Window, Windowed

__all__ = ["Window", "WindowTable", "Windows"]

A = TypeVar("A")
V = TypeVar("V")


class WindowTable(Windowed[A], Generic[A, V]):
    """Tumbling or hopping windows; see this module.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        step: from one window's start to the next; None for windows that do not overlap (tumbling).
        value: what is kept of a window.
        grace: how long after its end a window takes events; None for as long as it is kept.
        keep: how long after its end a window is kept; None for ever.
    """

    def __init__(
        self,
        name: str,
        *,
        size: timedelta,
        step: timedelta | None = None,
        value: Aggregate[A, V],
        grace: timedelta | None = None,
        keep: timedelta | None = None,
    ) -> None:
        super().__init__(name, size=size, step=step or size, value=value, grace=grace, keep=keep)
        self.kind = f"tumbling windows of {size}" if step is None else f"windows of {size} every {step}"
        self._decode = msgspec.msgpack.Decoder(value.type).decode
        self.add_all = adder(value)

    def open(
        self,
        out: Out,
        *,
        changed: Tell | None = None,
        closed: Tell | None = None,
    ) -> "Windows[A, V]":
        """Use the table in the commit of a batch.

        Args:
            out: the commit.
            changed: called at the end for each pane that the batch has changed, with the window that ends
                with it; what it sends has the last event that changed the pane as its origin.
            closed: called at the end for each window that the batch has closed, with its final result; what
                it sends has the event that moved the watermark past it as its origin.
        """
        return Windows(self, out, changed, closed)

    def decode(self, raw: bytes | None) -> A:
        """Return a row's value; None is the value of no events."""
        return self.value.zero() if raw is None else self._decode(raw)


class Windows(Opened[A], Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: WindowTable[A, V],
        out: Out,
        changed: Tell | None,
        closed: Tell | None,
    ) -> None:
        super().__init__(table, out, changed, closed)
        self._table = table
        # By key and pane: the index of the last event, and behind it the values of all.
        self._panes: dict[tuple[str, int], list[Any]] = {}
        self._step = table.step
        out.at_end(self._fold)

    def add(self, key: str, value: V, *, at: float) -> bool:
        """Add an event to the windows of a key.

        Args:
            key: what is aggregated by.
            value: what the table's aggregate takes.
            at: event time, seconds since the epoch.

        Returns:
            Whether it was in time. If not, the event goes to the source's late events.
        """
        start = int(at // self._step) * self._step
        if self._open is not None and self._is_past(start):
            self._tell_late(start)
            return False
        pane = self._panes.get((key, start))
        if pane is None:
            self._panes[key, start] = [self._out.index, value]
        else:
            pane[0] = self._out.index
            pane.append(value)
        return True

    def _fold(self, changes: Changes) -> None:
        table, out = self._table, self._out
        totals: dict[tuple[str, int], A] = {}
        last: dict[tuple[str, int], int] = {}
        rows = [table.row_key(*pane) for pane in self._panes]
        for row, raw, (pane, (index, *values)) in zip(rows, out.read(rows), self._panes.items(), strict=True):
            totals[pane] = total = table.add_all(values, table.decode(raw))
            last[pane] = index
            changes.rows[row] = msgspec.msgpack.encode(total)
            if raw is None and table.derived is not None:
                changes.derived[table.pane_key(pane[1], pane[0])] = b""
        self._finish(totals, last, changes)
