"""How far an artifact's predictions are from its base's, token by token, streamed.

Both models read the same text in step; of each small batch the logits are compared and dropped, so
memory holds a few rows of the vocabulary whatever the text's length. As in llama.cpp's perplexity
tool, only the second half of each window is scored, so that every scored token has context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgecomp.events import Progress
from edgecomp.runtimes.divergence import Figures, add_figures, empty_figures, log_probabilities
from edgecomp.runtimes.llama_cpp.session import Logits, Position, Session


def compare(
    base: Session, artifact: Session, windows: Sequence[Sequence[int]], progress: Progress
) -> dict[str, Any]:
    """Per-token figures over `windows` of token ids."""
    figures = empty_figures()
    for index, window in enumerate(windows):
        for values in figures.values():
            values.append([])
        _compare_window(base, artifact, window, figures)
        progress(index + 1, len(windows))
    return figures


def _compare_window(
    base: Session, artifact: Session, window: Sequence[int], figures: Figures
) -> None:
    half = len(window) // 2
    for session in (base, artifact):
        session.clear()
        session.prefill(window[:half])
    step = min(base.settings.outputs, artifact.settings.outputs)
    for begin in range(half, len(window) - 1, step):
        end = min(begin + step, len(window) - 1)
        p = _rows(base, window, begin, end)
        q = _rows(artifact, window, begin, end)
        add_figures(figures, p, q, window[begin + 1 : end + 1])


def _rows(session: Session, window: Sequence[int], begin: int, end: int) -> Logits:
    entries: list[Position] = [(window[i], i, 0, True) for i in range(begin, end)]
    session.decode(entries)
    return log_probabilities(np.stack([session.logits(i) for i in range(end - begin)]))
