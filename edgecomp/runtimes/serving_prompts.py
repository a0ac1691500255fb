"""The prompts of a serving load, cut from one text."""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.runtimes.meter import Reader

PROMPT_STRIDE = 0.382
"""Share of the text from one prompt's beginning to the next: they are spread over it, so that they
share no beginning."""


def cut_prompts(session: Reader, text: str, lengths: Sequence[int]) -> list[str]:
    """Texts of about `lengths` tokens."""
    tokens = session.tokenize(text, add_special=False, parse_special=False)
    if not tokens:
        raise ValueError("the text to serve has no tokens")
    while len(tokens) < max(lengths):
        tokens += tokens
    texts = []
    for index, length in enumerate(lengths):
        begin = int(index * PROMPT_STRIDE * len(tokens)) % (len(tokens) - length + 1)
        texts.append(session.text(tokens[begin : begin + length]))
    return texts
