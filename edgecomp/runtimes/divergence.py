"""Per-token figures of two models' log-probabilities, as every runtime's worker collects them.

As in llama.cpp's perplexity tool, only the second half of each window is scored, so that every
scored token has context; of each small batch the logits are compared and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Figures = dict[str, list[list[float]]]
"""`kl`: Kullback-Leibler divergence of artifact from base in nats; `agree`: same first choice;
`base_nll`, `artifact_nll`: negative log-likelihood of the token that follows; [windows][tokens]."""

Logits = NDArray[np.float32]


def log_probabilities(logits: Logits) -> Logits:
    """Log-softmax over the last axis, in double precision and then float32."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted.astype(np.float32)


def empty_figures() -> Figures:
    return {"kl": [], "agree": [], "base_nll": [], "artifact_nll": []}


def add_figures(figures: Figures, base: Logits, artifact: Logits, following: Sequence[int]) -> None:
    """Add the figures of log-probabilities [tokens, vocabulary] to the last window."""
    rows, wanted = np.arange(len(following)), np.asarray(following)
    divergence = (np.exp(base) * (base - artifact)).sum(axis=-1)
    same = base.argmax(axis=-1) == artifact.argmax(axis=-1)
    figures["kl"][-1] += np.maximum(divergence, 0.0).tolist()
    figures["agree"][-1] += same.astype(float).tolist()
    figures["base_nll"][-1] += (-base[rows, wanted]).tolist()
    figures["artifact_nll"][-1] += (-artifact[rows, wanted]).tolist()
