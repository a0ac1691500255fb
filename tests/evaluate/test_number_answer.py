"""The final number of worked answers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.evaluate.number_answer import final_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("He has 3 + 4 = 7.", "7"),
        ("First 12, so #### 1,234", "1234"),
        ("The answer is $45.50 per day, not 3", "45.50"),
        ("The answer is: **18**. I checked 3 times.", "18"),
        ("so \\boxed{230} metres in 2 days", "230"),
        ("the answer is not 5 but 6", "6"),
        ("x is −3", "-3"),
        ("Das kostet 1.234,5 Euro", "1234.5"),
        ("cela fait 1 200 euros", "1200"),
        ("उत्तर ४२ है", "42"),
        ("答えは１８です", "18"),
        ("10, 20, 30", "30"),
        ("no digits at all", None),
        ("", None),
    ],
)
def test_the_number_an_answer_ends_on(text: str, number: str | None) -> None:
    assert final_number(text) == (None if number is None else Decimal(number))


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_do_not_change_a_number(number: int) -> None:
    assert final_number(f"It is {number:,}.") == number
    assert final_number(f"It is {number}.") == number
