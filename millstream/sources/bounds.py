"""Values within the bounds of a type, as `msgspec.inspect` describes it."""

from math import ceil, floor, nextafter, remainder
from random import Random
from typing import Any

from msgspec import inspect
from rstr import Rstr

# Entries of a list or dictionary beyond the least number.
FEW = 3
# How often a multiple is drawn, of which not all are floats.
DRAWS = 50


class Texts(Rstr):
    """Makes texts of patterns, in which what repeats without a limit does so up to `most` times.

    Rstr's own limit is a hundred, which no short text is made with.
    """

    def __init__(self, chance: Random, most: int) -> None:
        super().__init__(chance)
        self._chance = chance
        self._most = most

    def _handle_repeat(self, start_range: int, end_range: int, value: Any) -> str:
        most = max(start_range, min(end_range, self._most))
        times = most if self._chance.random() < 0.5 else self._chance.randint(start_range, most)
        return "".join(self._handle_state(state) for _ in range(times) for state in value)


def some(typ: Any) -> Any:
    """Return a type without its metadata, and of several the first that is not None."""
    if isinstance(typ, inspect.Metadata):
        return some(typ.type)
    if isinstance(typ, inspect.UnionType):
        return some(next(one for one in typ.types if not isinstance(one, inspect.NoneType)))
    return typ


def may_be_none(typ: Any) -> bool:
    """Return whether a value of a type may be None."""
    if isinstance(typ, inspect.Metadata):
        return may_be_none(typ.type)
    return isinstance(typ, inspect.UnionType) and any(isinstance(one, inspect.NoneType) for one in typ.types)


def multiples(typ: inspect.IntType, default: int = 100) -> tuple[int, int, int]:
    """Return a step, the least multiple of it that is allowed, and their number.

    Args:
        typ: the type of a whole number.
        default: the largest number above the least one, where the type has no upper bound.
    """
    low = typ.ge if typ.ge is not None else None if typ.gt is None else floor(typ.gt) + 1
    high = typ.le if typ.le is not None else None if typ.lt is None else ceil(typ.lt) - 1
    step = typ.multiple_of or 1
    if low is None:
        low = 0 if high is None or high >= 0 else high - default * step
    first, last = -(-ceil(low) // step), floor(low + default * step if high is None else high) // step
    return int(step), int(first), max(1, int(last - first + 1))  # where there is none, the decoder says so


def floating(chance: Random, typ: inspect.FloatType) -> float:
    """Return a number, mostly with two decimals."""
    low = typ.ge if typ.ge is not None else None if typ.gt is None else nextafter(typ.gt, float("inf"))
    high = typ.le if typ.le is not None else None if typ.lt is None else nextafter(typ.lt, float("-inf"))
    step = typ.multiple_of
    if low is None:
        low = 0.0 if high is None or high >= 0 else high - 100.0 * (step or 1)
    if high is None:
        high = low + 100.0 * (step or 1)
    if step is not None:
        first, last = ceil(low / step), floor(high / step)
        found = (step * (first + int(chance.random() * (last - first + 1))) for _ in range(DRAWS))
        # The product is rounded, and then mostly no multiple: 0.07 of 0.01.
        return float(next((one for one in found if remainder(one, step) == 0), step * first))
    share = chance.random()
    value = low * (1 - share) + high * share  # not by their difference, which may be infinite
    rounded = round(value, 2)
    return float(rounded if low <= rounded <= high else min(max(value, low), high))


def fitted(text: str, short: str, typ: Any) -> str:
    """Return a text of an allowed length: the first one, else the end of the short one, with zeros before."""
    least, most = typ.min_length or 0, typ.max_length
    if most is not None and len(text) > most:
        text = short[-most:] if most else ""
    return text if len(text) >= least else text.rjust(least, "0")


def length(chance: Random, typ: Any) -> int:
    """Return a number of entries."""
    least, most = typ.min_length or 0, typ.max_length
    top = least + FEW if most is None else min(most, least + FEW)
    return least + int(chance.random() * (top - least + 1))
