"""An answer as it grows: where it ends, and how it is told, in every runtime's worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Tokenizer(Protocol):
    """What a session knows of its tokens."""

    def ends_generation(self, token: int) -> bool: ...

    def text(self, tokens: Sequence[int]) -> str: ...


def ends_generation(
    written: list[int], token: int, limit: int, stops: Sequence[str], tokenizer: Tokenizer
) -> bool:
    """Add the token that follows to an answer, unless it is an end token; whether the answer is
    finished, by that, by its limit of tokens or by one of `stops`."""
    if tokenizer.ends_generation(token):
        return True
    written.append(token)
    return len(written) >= limit or is_stopped(written, stops, tokenizer.text)


def to_completions(
    written: Sequence[Sequence[int]], limits: Sequence[int], tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """The fields of `edgecomp.runtimes.protocol.Completion` for each answer."""
    return [
        {"tokens": row, "text": tokenizer.text(row), "ended": len(row) < limit}
        for row, limit in zip(written, limits, strict=True)
    ]


def is_stopped(
    tokens: Sequence[int], stops: Sequence[str], text_of: Callable[[Sequence[int]], str]
) -> bool:
    """Whether the last of `tokens` completes one of `stops`; `text_of` gives the text of tokens."""
    # No token is shorter than a byte, and the last one may bring more than the end of the string.
    longest = max((len(stop.encode()) for stop in stops), default=0)
    tail = text_of(tokens[-longest:]) if longest else ""
    # The tail's own beginning may be a broken character, or a space that is left out there.
    return any(stop in tail for stop in stops) and any(stop in text_of(tokens) for stop in stops)
