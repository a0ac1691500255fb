"""Bars of block characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgecomp.tui.bars import Part, bar, interval_strip, stacked_bar

amounts = st.lists(st.floats(min_value=0, max_value=1e12), min_size=1, max_size=5)


@given(st.floats(min_value=-1, max_value=2), st.integers(min_value=1, max_value=80))
def test_a_bar_has_the_width_it_is_given(share: float, width: int) -> None:
    assert len(bar(share, width).plain) == width


@given(amounts, st.floats(min_value=0, max_value=1e12), st.integers(min_value=1, max_value=80))
def test_a_stacked_bar_has_the_width_it_is_given(
    sizes: list[float], limit: float, width: int
) -> None:
    parts = [Part(str(index), size, "█", "") for index, size in enumerate(sizes)]
    assert len(stacked_bar(parts, limit, width).plain) == width


def test_the_parts_of_a_stacked_bar_differ_without_colour() -> None:
    parts = (Part("weights", 2, "█", "cyan"), Part("cache", 1, "▓", "green"))
    assert stacked_bar(parts, 4, 8).plain == "████▓▓··"


def test_what_is_over_the_limit_ends_in_an_arrow() -> None:
    assert stacked_bar((Part("weights", 3, "█", ""),), 2, 4).plain == "███▶"


def test_an_interval_that_holds_zero_crosses_the_middle() -> None:
    assert interval_strip(5, -10, 10, 20, 9).plain == "··──┼●─··"
    assert interval_strip(10, 5, 15, 20, 9).plain == "····│─●─·"[:9]
