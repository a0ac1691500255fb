"""Where the tokens of a context end and those of its continuations begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def split_choices(
    tokenize: Callable[[str], list[int]], context: str, choices: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Token ids of the context and of what each choice adds to it.

    A token may straddle the border; the choice then begins with that token, which the context
    gives up, as in lm-eval.
    """
    alone = tokenize(context)
    whole = [tokenize(context + choice) for choice in choices]
    # At least one token must be left to score, even where a choice adds nothing of its own.
    shared = min(min(common(alone, tokens), len(tokens) - 1) for tokens in whole)
    return alone[:shared], [tokens[shared:] for tokens in whole]


def common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens both begin with."""
    length = min(len(first), len(second))
    return next((i for i in range(length) if first[i] != second[i]), length)
