"""Per-token figures of two models' log-probabilities, as every runtime's worker collects them.

As in llama.cpp's perplexity tool, only the second half of each window is scored, so that every
scored token has context; of each small batch the logits are compared and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.events import Progress

Figures = dict[str, list[list[float]]]
"""`kl`: Kullback-Leibler divergence of artifact from base in nats; `agree`: same first choice;
`base_nll`, `artifact_nll`: negative log-likelihood of the token that follows; [windows][tokens]."""

Logits = NDArray[np.float32]
Session = TypeVar("Session")


def log_probabilities(logits: Logits) -> Logits:
    """Log-softmax over the last axis; sums are kept in double precision."""
    shifted: Logits = logits - logits.max(axis=-1, keepdims=True)
    sums = np.exp(shifted).sum(axis=-1, keepdims=True, dtype=np.float64)
    shifted -= np.log(sums).astype(np.float32)
    return shifted


def log_probability(logits: Logits, tokens: Sequence[int]) -> list[tuple[float, bool]]:
    """The log-probability of each of `tokens` under logits [vocabulary], and whether no other token
    has a greater one."""
    most = float(logits.max())
    above = most + float(np.log(np.exp(logits - most).sum(dtype=np.float64)))
    return [(float(logits[token]) - above, float(logits[token]) == most) for token in tokens]


def windows_of(tokens: Sequence[int], window: int, windows: int) -> list[Sequence[int]]:
    """The first `windows` whole windows of `tokens`; a short rest is left out."""
    ends = range(window, len(tokens) + 1, window)
    return [tokens[end - window : end] for end in ends[:windows]]


@dataclass(frozen=True)
class Reader(Generic[Session]):
    """How a runtime's session reads."""

    start: Callable[[Session, Sequence[int]], object]
    """Has it forget all, and read some tokens."""

    rows: Callable[[Session, Sequence[int], int, int], Logits]
    """`rows(session, window, begin, end)` reads on and gives the log-probabilities after each token
    begin..end-1."""


def compare(
    base: Session,
    artifact: Session,
    windows: Sequence[Sequence[int]],
    reader: Reader[Session],
    step: int,
    progress: Progress,
) -> Figures:
    """The figures over `windows` of token ids, which both sessions read in step, at most `step`
    tokens at a time."""
    figures: Figures = {"kl": [], "agree": [], "base_nll": [], "artifact_nll": []}
    for index, window in enumerate(windows):
        for values in figures.values():
            values.append([])
        half = len(window) // 2
        reader.start(base, window[:half])
        reader.start(artifact, window[:half])
        for begin in range(half, len(window) - 1, step):
            end = min(begin + step, len(window) - 1)
            p, q = (reader.rows(session, window, begin, end) for session in (base, artifact))
            _add_figures(figures, p, q, window[begin + 1 : end + 1])
        progress(index + 1, len(windows))
    return figures


def _add_figures(
    figures: Figures, base: Logits, artifact: Logits, following: Sequence[int]
) -> None:
    """Add the figures of log-probabilities [tokens, vocabulary] to the last window.

    A token that the base rules out adds nothing to the divergence; one that only the artifact
    rules out makes it infinite. Predictions that are not numbers give NaN and agree with none.
    """
    rows, wanted = np.arange(len(following)), np.asarray(following)
    with np.errstate(invalid="ignore"):
        terms = np.exp(base)
        np.multiply(terms, base - artifact, out=terms, where=(terms != 0))
    divergence = terms.sum(axis=-1)
    same = base.argmax(axis=-1) == artifact.argmax(axis=-1)
    same &= ~np.isnan(artifact).any(axis=-1)
    figures["kl"][-1] += np.maximum(divergence, 0.0).tolist()
    figures["agree"][-1] += same.astype(float).tolist()
    figures["base_nll"][-1] += (-base[rows, wanted]).tolist()
    figures["artifact_nll"][-1] += (-artifact[rows, wanted]).tolist()
