"""Aggregates: how the events of a window become one value.

You can write your own aggregate as a small class like these. A table adds events to the stored value in
offset order, so a result never depends on how events were cut into batches.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, Protocol, TypeVar

A = TypeVar("A")
V = TypeVar("V")
V_contra = TypeVar("V_contra", contravariant=True)

Number = int | float
Of = Callable[[Any], Any]


class Aggregate(Protocol[A, V_contra]):
    """Combines the events of a window into one value.

    Attributes:
        type: type of the value; anything that MessagePack can hold.
    """

    type: type[A]

    def zero(self) -> A:
        """Return the value of no events."""
        ...

    def add(self, total: A, value: V_contra) -> A:
        """Return the value with one more event; may change `total`."""
        ...

    def merge(self, total: A, more: A) -> A:
        """Merge the values of two chunks of events; may change `total`, must not change or keep `more`."""
        ...

    def result(self, total: A) -> dict[str, Any]:
        """Return the JSON fields that show the value."""
        ...


def adder(aggregate: Aggregate[A, V]) -> Callable[[Sequence[V], A], A]:
    """Return a function that adds several events: the aggregate's `add_all` if it has one, else a loop."""
    own: Callable[[Sequence[V], A], A] | None = getattr(aggregate, "add_all", None)
    return own or partial(reduce, aggregate.add)


def merged(aggregate: Aggregate[A, V], values: Sequence[A]) -> A:
    """Return the merged value of several chunks of events, in their order."""
    return values[0] if len(values) == 1 else reduce(aggregate.merge, values, aggregate.zero())


def itself(value: Any) -> Any:
    """Return the argument: the default `of`."""
    return value


class Named:
    """Base of aggregates with one result field.

    Args:
        field: name of the result field.
        of: returns the figure of an event; an event with None is left out.
    """

    def __init__(self, field: str, *, of: Of = itself) -> None:
        self.field = field
        self._of = of


class Count:
    """The number of events.

    Args:
        field: name of the result field.
    """

    type = int

    def __init__(self, field: str = "count") -> None:
        self.field = field

    def zero(self) -> int:
        """Return the value of no events."""
        return 0

    def add(self, total: int, value: object) -> int:  # noqa: ARG002 (every event counts as one)
        """Count one more event."""
        return total + 1

    def add_all(self, values: Sequence[object], total: int) -> int:
        """Count several more events."""
        return total + len(values)

    def merge(self, total: int, more: int) -> int:
        """Add two counts."""
        return total + more

    def result(self, total: int) -> dict[str, Any]:
        """Return the result field."""
        return {self.field: total}


class Sum(Named):
    """The sum of a figure; exact for whole numbers."""

    type: Any = Number

    def __init__(self, field: str = "sum", *, of: Of = itself) -> None:
        super().__init__(field, of=of)

    def zero(self) -> Number:
        """Return the value of no events."""
        return 0

    def add(self, total: Number, value: Any) -> Number:
        """Add one more event."""
        figure = self._of(value)
        return total if figure is None else total + figure

    def merge(self, total: Number, more: Number) -> Number:
        """Add two sums."""
        return total + more

    def result(self, total: Number) -> dict[str, Any]:
        """Return the result field."""
        return {self.field: total}


class _Chosen(Named):
    """Base of aggregates that select one of the figures."""

    type: Any = Any
    _choose: Callable[[Any, Any], Any]

    def zero(self) -> Any:
        """Return the value of no events."""
        return None

    def add(self, total: Any, value: Any) -> Any:
        """Add one more event."""
        return self.merge(total, self._of(value))

    def merge(self, total: Any, more: Any) -> Any:
        """Select one of two figures."""
        if total is None or more is None:
            return more if total is None else total
        return self._choose(total, more)

    def result(self, total: Any) -> dict[str, Any]:
        """Return the result field; None without events."""
        return {self.field: total}


class Min(_Chosen):
    """The smallest figure."""

    _choose = staticmethod(min)

    def __init__(self, field: str = "min", *, of: Of = itself) -> None:
        super().__init__(field, of=of)


class Max(_Chosen):
    """The largest figure."""

    _choose = staticmethod(max)

    def __init__(self, field: str = "max", *, of: Of = itself) -> None:
        super().__init__(field, of=of)


class Mean(Named):
    """The mean of a figure."""

    type = tuple[int, float]

    def __init__(self, field: str = "mean", *, of: Of = itself) -> None:
        super().__init__(field, of=of)

    def zero(self) -> tuple[int, float]:
        """Return the value of no events."""
        return 0, 0.0

    def add(self, total: tuple[int, float], value: Any) -> tuple[int, float]:
        """Add one more event."""
        figure = self._of(value)
        return total if figure is None else (total[0] + 1, total[1] + figure)

    def merge(self, total: tuple[int, float], more: tuple[int, float]) -> tuple[int, float]:
        """Add counts and sums."""
        return total[0] + more[0], total[1] + more[1]

    def result(self, total: tuple[int, float]) -> dict[str, Any]:
        """Return the result field; None without events."""
        count, figures = total
        return {self.field: figures / count if count else None}


class Variance(Named):
    """The sample variance of a figure (divided by n - 1): Welford's method, Chan's for merging chunks."""

    type = tuple[int, float, float]

    def __init__(self, field: str = "variance", *, of: Of = itself) -> None:
        super().__init__(field, of=of)

    def zero(self) -> tuple[int, float, float]:
        """Return the value of no events: count, mean, sum of squared distances."""
        return 0, 0.0, 0.0

    def add(self, total: tuple[int, float, float], value: Any) -> tuple[int, float, float]:
        """Add one more event."""
        figure = self._of(value)
        if figure is None:
            return total
        count, mean, squares = total[0] + 1, total[1], total[2]
        distance = figure - mean
        mean += distance / count
        return count, mean, squares + distance * (figure - mean)

    def merge(
        self, total: tuple[int, float, float], more: tuple[int, float, float]
    ) -> tuple[int, float, float]:
        """Merge two chunks."""
        count = total[0] + more[0]
        if not count:
            return total
        distance = more[1] - total[1]
        mean = total[1] + distance * more[0] / count
        return count, mean, total[2] + more[2] + distance * distance * total[0] * more[0] / count

    def result(self, total: tuple[int, float, float]) -> dict[str, Any]:
        """Return the result field; None for fewer than two events."""
        count, _, squares = total
        return {self.field: squares / (count - 1) if count > 1 else None}


class _Timed(Named):
    """Base of aggregates that select a figure by event time.

    Args:
        field: name of the result field.
        of: returns the figure of an event; an event with None is left out.
        at: returns the event time, seconds since the epoch.
    """

    type: Any = tuple[float, Any] | None
    # Returns whether an event with the first time replaces one with the second time.
    _takes: Callable[[float, float], bool]

    def __init__(self, field: str, *, of: Of, at: Of) -> None:
        super().__init__(field, of=of)
        self._at = at

    def zero(self) -> tuple[float, Any] | None:
        """Return the value of no events."""
        return None

    def add(self, total: tuple[float, Any] | None, value: Any) -> tuple[float, Any] | None:
        """Add one more event."""
        figure = self._of(value)
        return total if figure is None else self.merge(total, (self._at(value), figure))

    def merge(
        self, total: tuple[float, Any] | None, more: tuple[float, Any] | None
    ) -> tuple[float, Any] | None:
        """Select one of two by their times; if these are equal, the subclass decides."""
        if total is None or more is None:
            return more if total is None else total
        return more if self._takes(more[0], total[0]) else total

    def result(self, total: tuple[float, Any] | None) -> dict[str, Any]:
        """Return the result field; None without events."""
        return {self.field: None if total is None else total[1]}


class First(_Timed):
    """The figure of the earliest event by event time; of several at the same time, the first to arrive."""

    _takes = staticmethod(operator.lt)


class Last(_Timed):
    """The figure of the latest event by event time; of several at the same time, the last to arrive."""

    _takes = staticmethod(operator.ge)


class LastN(Named):
    """The figures of the latest events by event time, newest first.

    Of several at the same time, the last to arrive is the newest.

    Args:
        field: name of the result field, a list.
        n: how many figures are kept, at least 1.
        of: returns the figure of an event; an event with None is left out.
        at: returns the event time, seconds since the epoch.
    """

    type: Any = list[tuple[float, Any]]

    def __init__(self, field: str, n: int, *, of: Of = itself, at: Of) -> None:
        super().__init__(field, of=of)
        self._n = n
        self._at = at

    def zero(self) -> list[tuple[float, Any]]:
        """Return the value of no events: a list of times and figures, oldest first."""
        return []

    def add(self, total: list[tuple[float, Any]], value: Any) -> list[tuple[float, Any]]:
        """Add one more event."""
        figure = self._of(value)
        return total if figure is None else self.merge(total, [(self._at(value), figure)])

    def merge(self, total: list[tuple[float, Any]], more: list[tuple[float, Any]]) -> list[tuple[float, Any]]:
        """Return the latest figures of two chunks."""
        return sorted([*total, *more], key=operator.itemgetter(0))[-self._n :]

    def result(self, total: list[tuple[float, Any]]) -> dict[str, Any]:
        """Return the result field."""
        return {self.field: [figure for _, figure in reversed(total)]}


class Several:
    """Several aggregates of the same events in one row.

    Args:
        aggregates: the aggregates; each has its own result fields.
    """

    def __init__(self, *aggregates: Aggregate[Any, Any]) -> None:
        # Lists of bound methods, because they are called for each event and window.
        self._zeros = [part.zero for part in aggregates]
        self._adds = [part.add for part in aggregates]
        self._adders = [adder(part) for part in aggregates]
        self._merges = [part.merge for part in aggregates]
        self._results = [part.result for part in aggregates]
        self.type: Any = tuple.__class_getitem__(tuple(part.type for part in aggregates))

    def zero(self) -> tuple[Any, ...]:
        """Return the values of no events."""
        return tuple([zero() for zero in self._zeros])

    def add(self, total: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        """Return the values with one more event."""
        return tuple([add(one, value) for add, one in zip(self._adds, total, strict=True)])

    def add_all(self, values: Sequence[Any], total: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values with several more events."""
        return tuple([add_all(values, one) for add_all, one in zip(self._adders, total, strict=True)])

    def merge(self, total: tuple[Any, ...], more: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the merged values of two chunks of events."""
        return tuple([merge(one, other) for merge, one, other in zip(self._merges, total, more, strict=True)])

    def result(self, total: tuple[Any, ...]) -> dict[str, Any]:
        """Return the result fields of all aggregates."""
        fields: dict[str, Any] = {}
        for result, one in zip(self._results, total, strict=True):
            fields.update(result(one))
        return fields
