"""Per-token figures of two models' log-probabilities, as every runtime's worker collects them.

As in llama.cpp's perplexity tool, only the second half of each window is scored, so that every
scored token has context; of each small batch the logits are compared and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.events import Progress, ignore_progress

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


class Step(NamedTuple):
    """Some scored tokens of a window, and what was predicted after each."""

    window: int
    following: Sequence[int]
    """The token that really comes next."""

    rows: Logits
    """Log-probabilities [tokens, vocabulary]."""

    def of_following(self) -> Logits:
        """The log-probability of each token that really comes next."""
        chosen: Logits = self.rows[np.arange(len(self.following)), np.asarray(self.following)]
        return chosen


class Expected(NamedTuple):
    """Of the base, each [tokens]: how far the artifact is from it (KL, nats), its first choice, and
    the log-probability that it gives to what really comes next."""

    divergence: NDArray[Any]
    likeliest: NDArray[Any]
    following: NDArray[Any]


def read(
    session: Session,
    windows: Sequence[Sequence[int]],
    reader: Reader[Session],
    step: int,
    progress: Progress = ignore_progress,
) -> Iterator[Step]:
    """Read the scored tokens of `windows` of token ids, at most `step` at a time."""
    for index, window in enumerate(windows):
        half = len(window) // 2
        reader.start(session, window[:half])
        for begin in range(half, len(window) - 1, step):
            end = min(begin + step, len(window) - 1)
            rows = reader.rows(session, window, begin, end)
            yield Step(index, window[begin + 1 : end + 1], rows)
        progress(index + 1, len(windows))


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
    figures = no_figures(len(windows))
    before, after = (
        read(base, windows, reader, step),
        read(artifact, windows, reader, step, progress),
    )
    for first, second in zip(before, after, strict=True):
        expected = Expected(
            divergence=divergence(first.rows, second.rows),
            likeliest=first.rows.argmax(axis=-1),
            following=first.of_following(),
        )
        add_figures(figures, second, expected)
    return figures


def divergence(base: Logits, artifact: Logits) -> Logits:
    """KL(base || artifact) in nats of log-probabilities [tokens, vocabulary].

    A token that the base rules out adds nothing; one that only the artifact rules out makes it
    infinite.
    """
    with np.errstate(invalid="ignore"):
        terms = np.exp(base)
        np.multiply(terms, base - artifact, out=terms, where=(terms != 0))
    found: Logits = terms.sum(axis=-1)
    return found


def no_figures(windows: int) -> Figures:
    """The figures of so many windows, none of whose tokens is scored yet."""
    names = ("kl", "agree", "base_nll", "artifact_nll")
    return {name: [[] for _ in range(windows)] for name in names}


def add_figures(figures: Figures, artifact: Step, expected: Expected) -> None:
    """Add the figures of the tokens that the artifact has read to those of their window.
    Predictions that are not numbers give NaN and agree with none."""
    same = artifact.rows.argmax(axis=-1) == expected.likeliest
    same &= ~np.isnan(artifact.rows).any(axis=-1)
    window = artifact.window
    figures["kl"][window] += np.maximum(expected.divergence, 0.0).tolist()
    figures["agree"][window] += same.astype(float).tolist()
    figures["base_nll"][window] += (-expected.following).tolist()
    figures["artifact_nll"][window] += (-artifact.of_following()).tolist()
