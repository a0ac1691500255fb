"""How many keys the queries of a prompt see."""

from __future__ import annotations


def prompt_pairs(tokens: int, window: int | None = None) -> float:
    """Pairs of a query and a key that it sees, over a prompt: those the mask hides cost nothing."""
    kept = min(tokens, window or tokens)
    return kept * kept / 2 + (tokens - kept) * kept
