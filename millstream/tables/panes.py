"""Merges panes into overlapping windows that close in turn. Each window takes a few merges, not one per pane.

Panes are grouped in *blocks* as long as a window. So a window is the end of one block and the beginning of
the next. When a block is full, the values from each pane to its end are computed once; the value of the next
block grows by one pane at a time. Blocks begin at multiples of the window's length. So the merge order, and
with it the rounding of floats, does not depend on how many windows close together.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

from millstream.tables.aggregates import Aggregate

A = TypeVar("A")

# Limit of the values that a partition's table keeps in memory, some hundred bytes each. Above it, panes are
# read again.
VALUES_KEPT = 200_000


class Blocks(Generic[A]):
    """The panes of one key that future windows consist of.

    Args:
        value: the aggregate of a pane.
        size: length of a window, seconds.

    Attributes:
        last: start of the last pane that was added.
    """

    __slots__ = ("_border", "_end", "_ends", "_panes", "_right", "_size", "_value", "_values", "last")

    def __init__(self, value: Aggregate[A, Any], size: int) -> None:
        self._value = value
        self._size = size
        self._border = self.last = -size
        # The block before the border: its panes, and the values from each pane to the block's end.
        self._end: list[int] = []
        self._ends: list[A] = []
        # The block that begins at the border: its panes, their values, and the merged value.
        self._panes: list[int] = []
        self._values: list[A] = []
        self._right: A | None = None

    def __len__(self) -> int:
        return len(self._ends) + len(self._values)

    def add(self, pane: int, value: A) -> None:
        """Add the next pane, by its start."""
        self._go_to(pane)
        self._panes.append(pane)
        self._values.append(value)
        right = self._value.zero() if self._right is None else self._right
        self._right = self._value.merge(right, value)
        self.last = pane

    def total(self, start: int, last: int) -> A:
        """Return the value of the window from pane `start` to pane `last`, the last one that was added."""
        self._go_to(last)
        merge, total = self._value.merge, self._value.zero()
        i = bisect_left(self._end, start)
        if i < len(self._end):
            total = merge(total, self._ends[i])
        return total if self._right is None else merge(total, self._right)

    def _go_to(self, pane: int) -> None:
        border = pane // self._size * self._size
        if border == self._border:
            return
        self._end, self._ends = [], []
        if border == self._border + self._size:
            merge, zero = self._value.merge, self._value.zero
            for value in reversed(self._values):
                end = merge(zero(), value)
                self._ends.append(merge(end, self._ends[-1]) if self._ends else end)
            self._ends.reverse()
            self._end = self._panes
        self._border = border
        self._panes, self._values, self._right = [], [], None


class PaneMerger(Generic[A]):
    """Merges panes into the windows that close next, for all keys.

    Args:
        value: the aggregate of a pane.
        size: length of a window, seconds.
        step: seconds from one window's start to the next.

    Attributes:
        next: start of the next window to close; None before the first.
    """

    def __init__(self, value: Aggregate[A, Any], size: int, step: int) -> None:
        self.next: int | None = None
        self._value = value
        self._size = size
        self._step = step
        self._keys: dict[str, Blocks[A]] = {}
        self._order: list[str] = []

    @property
    def small(self) -> bool:
        """Whether it is small enough to be kept in memory."""
        return sum(map(len, self._keys.values())) <= VALUES_KEPT

    def close(self, starts: range, panes: Iterable[tuple[int, str, A]]) -> Iterator[tuple[int, str, A]]:
        """Yield start, key and value of the windows with these starts, in order.

        Args:
            starts: window starts in order. The windows before them are closed, or had no panes.
            panes: start, key and value of all panes of these windows that were not passed before, in order.
        """
        panes = iter(panes)
        entering = next(panes, None)
        start = starts.start
        while start < starts.stop:
            if not self._keys:
                if entering is None:
                    break
                start = max(start, entering[0] + self._step - self._size)
            last = start + self._size - self._step
            while entering is not None and entering[0] <= last:
                self._add(*entering)
                entering = next(panes, None)
            gone = [key for key, blocks in self._keys.items() if blocks.last < start]
            for key in gone:
                del self._keys[key]
                del self._order[bisect_left(self._order, key)]
            for key in self._order:
                yield start, key, self._keys[key].total(start, last)
            start += self._step
        self.next = starts.stop

    def _add(self, pane: int, key: str, value: A) -> None:
        blocks = self._keys.get(key)
        if blocks is None:
            blocks = self._keys[key] = Blocks(self._value, self._size)
            insort(self._order, key)
        blocks.add(pane, value)
