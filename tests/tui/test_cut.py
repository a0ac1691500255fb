"""Names cut in the middle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from edgecomp.tui.cut import cut_middle


@given(st.text(max_size=60), st.integers(min_value=0, max_value=40))
def test_a_cut_name_never_takes_more_cells_than_it_may(text: str, width: int) -> None:
    assert cell_len(cut_middle(text, width)) <= max(width, 0)


@given(st.text(alphabet="abcdef-./", min_size=12, max_size=60))
def test_a_cut_name_keeps_both_its_ends(text: str) -> None:
    cut = cut_middle(text, 11)
    assert cut[:5] == text[:5]
    assert cut[-5:] == text[-5:]


def test_a_name_that_fits_is_left_alone() -> None:
    assert cut_middle("Q4_K_M", 6) == "Q4_K_M"


def test_wide_characters_are_cut_by_their_cells() -> None:
    assert cut_middle("日本語のモデル", 7) == "日…デル"[:1] + "…" + "ル"
