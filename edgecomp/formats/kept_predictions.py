"""How many bytes a base's predictions take where they are kept (runtimes/predictions.py)."""

from __future__ import annotations

LIKELIEST = 4096
"""Tokens of each row whose log-probabilities are kept; all others together are a percent or so."""

MOST_BYTES = 1_300_000_000
"""What is kept of one base and text at most; beyond, a base is read anew with each artifact. An
evaluation's 16 windows of 512 tokens take 1.2 GB at a vocabulary of 262,144 (Gemma 3)."""


def kept_bytes(vocabulary: int, rows: int) -> int:
    """What the predictions of so many tokens take, but for the heads of their files."""
    codes = vocabulary if vocabulary > LIKELIEST else 0
    return rows * (codes + 8 * min(vocabulary, LIKELIEST) + 36)
