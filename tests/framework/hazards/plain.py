"""Marks of the two cases of each test."""

from typing import Any

import pytest


def both(plain: Any, millstream: Any, why: str, *, raises: type[Exception] = AssertionError) -> list[Any]:
    """Return a parameter for plain Faust, that must fail, and one for Millstream.

    Args:
        plain: the parameter for plain Faust.
        millstream: the parameter for Millstream.
        why: what plain Faust does wrong.
        raises: how its failure shows.
    """
    mark = pytest.mark.xfail(strict=True, raises=raises, reason=f"Faust 0.15.3: {why}")
    return [pytest.param(plain, id="plain", marks=mark), pytest.param(millstream, id="millstream")]
