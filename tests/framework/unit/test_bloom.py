import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.tables.bloom import FIRST_KEYS, GROWTH, ScalableBloomFilter


def keys(first: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, end)]


def test_an_empty_filter_holds_nothing() -> None:
    assert ScalableBloomFilter().candidates(keys(0, 10)) == []


@given(st.lists(st.lists(st.binary(), max_size=20), max_size=20), st.lists(st.binary()))
def test_what_was_added_is_held_whatever_it_is(parts: list[list[bytes]], others: list[bytes]) -> None:
    # Filters of few keys, so that there are several.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("millstream.tables.bloom.FIRST_KEYS", 3)
        held = ScalableBloomFilter()
        for part in parts:
            held.update(part)
    added = {key for part in parts for key in part}
    asked = [*others, *added]
    found = held.candidates(asked)
    assert found == sorted(set(found))
    assert {i for i, key in enumerate(asked) if key in added} <= set(found)


@pytest.mark.parametrize("filters", [1, 2])
def test_few_others_are_taken_for_them(filters: int) -> None:
    # A filter is at its fullest when the next is about to be made.
    count = FIRST_KEYS * sum(GROWTH**n for n in range(filters))
    held = ScalableBloomFilter()
    for first in range(0, count, 10_000):
        held.update(keys(first, min(first + 10_000, count)))
    assert len(held.candidates(keys(count, count + 100_000))) < 2_000 * filters
