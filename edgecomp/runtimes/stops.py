"""Where an answer ends before its limit: at the first of some strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def is_stopped(
    tokens: Sequence[int], stops: Sequence[str], text_of: Callable[[Sequence[int]], str]
) -> bool:
    """Whether the last of `tokens` completes one of `stops`; `text_of` gives the text of tokens."""
    # No token is shorter than a byte, and the last one may bring more than the end of the string.
    longest = max((len(stop.encode()) for stop in stops), default=0)
    tail = text_of(tokens[-longest:]) if longest else ""
    # The tail's own beginning may be a broken character, or a space that is left out there.
    return any(stop in tail for stop in stops) and any(stop in text_of(tokens) for stop in stops)
