"""How llama.cpp reads a text for a comparison, as `edgecomp.runtimes.divergence` asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgecomp.runtimes.divergence import log_probabilities
from edgecomp.runtimes.llama_cpp.session import Logits, Position, Session


def start(session: Session, tokens: Sequence[int]) -> None:
    """Forget all, and read `tokens`."""
    session.clear()
    session.prefill(tokens)


def rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    """Log-probabilities [end - begin, vocabulary] after each of the window's tokens."""
    entries: list[Position] = [(window[i], i, (0,), True) for i in range(begin, end)]
    session.decode(entries)
    return log_probabilities(np.stack([session.logits(i) for i in range(end - begin)]))
