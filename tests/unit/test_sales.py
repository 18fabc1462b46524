"""Sums of money are exact."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from models.activity import SalesTotal, SalesTotals


@given(
    st.lists(st.tuples(st.sampled_from(["purchase", "refund"]), st.integers(-(10**9), 10**9)), max_size=50)
)
def test_sales_are_exact_to_the_penny(sales: list[tuple[str, int]]) -> None:
    totals = SalesTotals()
    total = totals.zero()
    for action, pence in sales:
        event: Any = type("Event", (), {"action": action, "amount": pence / 100})()
        total = totals.merge(total, totals.add(totals.zero(), event))
    assert total == SalesTotal(
        purchases=sum(action == "purchase" for action, _ in sales),
        refunds=sum(action == "refund" for action, _ in sales),
        micros=sum(pence for _, pence in sales) * 10_000,
    )
    assert totals.result(total)["amount"] == sum(pence for _, pence in sales) / 100
