"""Stop strings found as an answer grows, against the whole text."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from edgecomp.runtimes.answers import is_stopped

PIECES = [b"a", b"b", b"ab", b"\n", b"\n\n", "é".encode()[:1], "é".encode()[1:], " Ä:".encode()]


def text_of(tokens: Sequence[int]) -> str:
    return b"".join(PIECES[token] for token in tokens).decode(errors="replace")


@given(
    st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=20),
    st.lists(st.sampled_from(["a", "ba", "\n\n", "é", "b Ä:", "abab"]), max_size=3),
)
def test_an_answer_is_stopped_as_soon_as_its_text_holds_a_stop(
    tokens: list[int], stops: list[str]
) -> None:
    ends = [any(stop in text_of(tokens[:end]) for stop in stops) for end in range(len(tokens) + 1)]
    first = ends.index(True) if True in ends else len(tokens)
    for end in range(1, first + 1):
        assert is_stopped(tokens[:end], stops, text_of) == ends[end]
