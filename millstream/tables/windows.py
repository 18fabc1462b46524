"""Windowed aggregates by key and event time.

A window takes events until the partition's watermark (its largest event time, less the out-of-orderness that
its source allows) has passed its end by the table's *grace*. Then it closes: its final result is emitted
once, and an event that comes later is *late*. The window is kept for queries as long as the table says.

Overlapping windows share *panes*, each as long as a step. An event is stored once, not in every window. A
pane takes no more events when the first window that contains it has closed, so that all windows agree on its
content.
"""

from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec

from millstream.state.replica import Changes
from millstream.tables.aggregates import Aggregate, adder
from millstream.tables.table import Commit
from millstream.tables.windowed import OpenWindows, Window, WindowCallback, Windowed

__all__ = ["Window", "WindowTable", "Windows"]

A = TypeVar("A")
V = TypeVar("V")


class WindowTable(Windowed[A], Generic[A, V]):
    """Tumbling or hopping windows; see this module.

    Args:
        name: the table's name.
        size: length of a window, in whole seconds.
        step: time from one window's start to the next; None for windows that do not overlap (tumbling).
        value: the aggregate of a window.
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
        commit: Commit,
        *,
        changed: WindowCallback | None = None,
        closed: WindowCallback | None = None,
    ) -> "Windows[A, V]":
        """Use the table in the commit of a batch.

        Args:
            commit: the commit.
            changed: called at the end of the batch for each pane that the batch has changed, with the window
                that ends with the pane. The origin of what it sends is the last event that changed the pane.
            closed: called at the end of the batch for each window that the batch has closed, with its final
                result. The origin of what it sends is the event that moved the watermark past it.
        """
        return Windows(self, commit, changed, closed)

    def decode(self, raw: bytes | None) -> A:
        """Return a row's value; None is the value of no events."""
        return self.value.zero() if raw is None else self._decode(raw)


class Windows(OpenWindows[A], Generic[A, V]):
    """The table in the commit of one batch."""

    def __init__(
        self,
        table: WindowTable[A, V],
        commit: Commit,
        changed: WindowCallback | None,
        closed: WindowCallback | None,
    ) -> None:
        super().__init__(table, commit, changed, closed)
        self._table = table
        # By key and pane: the batch index of the last event, followed by the values of all events.
        self._panes: dict[tuple[str, int], list[Any]] = {}
        self._step = table.step
        commit.at_end(table, self._fold)

    def add(self, key: str, value: V, *, at: float) -> bool:
        """Add an event to the windows of a key.

        Args:
            key: the key of the windows.
            value: the input of the table's aggregate.
            at: event time, seconds since the epoch.

        Returns:
            Whether it was in time. If not, the event goes to the source's late events.
        """
        start = int(at // self._step) * self._step
        if self._open is not None and self._is_past(start):
            self._report_late(start)
            return False
        pane = self._panes.get((key, start))
        if pane is None:
            self._panes[key, start] = [self._commit.index, value]
        else:
            pane[0] = self._commit.index
            pane.append(value)
        return True

    def _fold(self, changes: Changes) -> None:
        table, commit = self._table, self._commit
        totals: dict[tuple[str, int], A] = {}
        last: dict[tuple[str, int], int] = {}
        rows = [table.row_key(*pane) for pane in self._panes]
        for row, raw, (pane, (index, *values)) in zip(
            rows, commit.read(rows), self._panes.items(), strict=True
        ):
            totals[pane] = total = table.add_all(values, table.decode(raw))
            last[pane] = index
            changes.rows[row] = msgspec.msgpack.encode(total)
            if raw is None and table.derived is not None:
                changes.derived[table.pane_key(pane[1], pane[0])] = b""
        self._finish(totals, last, changes)
