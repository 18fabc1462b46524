"""Exact numbers from text."""

import re
from decimal import Context, Decimal, Inexact

from millstream.sources.rows import Unmapped

# Deliberately narrow: no names, no infinity, no exponent that yields a number with a million digits.
_NUMBER = re.compile(r"[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?", re.ASCII)
_EXACT = Context(prec=400, traps=[Inexact])


def number(column: str, text: str) -> Decimal:
    """Parse a decimal number.

    Raises:
        Unmapped: the text is not a decimal number.
    """
    if not _NUMBER.fullmatch(text.strip()):
        raise Unmapped(f"{column} is not a number: {text[:40]!r}")
    return Decimal(text.strip())


def whole(column: str, text: str) -> int:
    """Parse a whole number.

    Raises:
        Unmapped: the text is not a whole number.
    """
    value = number(column, text)
    if value % 1:
        raise Unmapped(f"{column} is not a whole number: {text[:40]!r}")
    return int(value)


def product(one: Decimal | int, other: Decimal) -> Decimal:
    """Multiply without rounding."""
    return _EXACT.multiply(one, other)


def plain(value: Decimal) -> str:
    """Format a number as JSON with all its digits, without an exponent; zero has no sign."""
    return f"{value if value else abs(value):f}"
