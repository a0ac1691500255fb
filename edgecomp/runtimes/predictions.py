"""What a base predicts over a text, kept, so that no artifact needs the base to be run again.

A row of a large vocabulary takes 600 kB as float32. Here the LIKELIEST tokens of each row keep
their log-probabilities, and each of the rest a byte: how many steps it lies below the greatest of
them. With T the former, R the rest, p and q what base and artifact give,

    KL(p || q) = sum_T p (log p - log q) + sum_R p (log p - log q)

and the second sum is taken under r, which the bytes stand for and which is scaled to the sum of p;
sum_R r log p is kept as a number. The error, sum_R (p - r) log(q / p), is at most half a step
of R's mean distance of log(q / p) from any constant. Roundings are independent and R holds little,
so it is far less in practice; and it shrinks with the divergence itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgecomp.common.atomic import replacing_folder
from edgecomp.common.events import Progress
from edgecomp.formats.kept_predictions import LIKELIEST, MOST_BYTES, kept_bytes
from edgecomp.runtimes.divergence import (
    Expected,
    Figures,
    Logits,
    Reader,
    Session,
    Step,
    add_figures,
    no_figures,
    read,
)

LARGEST_STEP = 0.1
"""Nats from one code to the next at most: a row whose rest lies closer together has finer ones."""

LOWEST, HIGHEST = 1, 255
"""Codes. Code 0 stands for no probability at all, which adds nothing to the divergence."""

WINDOWS = "windows.npy"


class HasVocabulary(Protocol):
    """A session that knows how long its rows are."""

    vocabulary: int


Predictor = TypeVar("Predictor", bound=HasVocabulary)


class Kept(NamedTuple):
    """Arrays of one step's tokens."""

    tokens: NDArray[np.int32]
    """The likeliest tokens [tokens, LIKELIEST], or all where there are no more."""

    exact: Logits
    """Their log-probabilities."""

    codes: NDArray[np.uint8]
    """[tokens, vocabulary], 0 at those; empty where those are all."""

    step: NDArray[np.float64]
    """[tokens]: nats from one code to the next."""

    weight: NDArray[np.float64]
    """[tokens]: the probability that the highest code stands for."""

    rest: NDArray[np.float64]
    """[tokens]: the sum over all codes of the probability they stand for, times log p."""

    likeliest: NDArray[np.int64]
    following: Logits
    """The log-probability [tokens] of what really comes next."""

    def divergence(self, artifact: Logits) -> NDArray[np.float64]:
        """KL in nats [tokens] of the artifact's log-probabilities [tokens, vocabulary]."""
        near = np.take_along_axis(artifact, self.tokens.astype(np.int64), axis=-1)
        with np.errstate(invalid="ignore"):
            terms = np.exp(self.exact)
            np.multiply(terms, self.exact - near, out=terms, where=(terms != 0))
        found: NDArray[np.float64] = terms.sum(axis=-1, dtype=np.float64)
        if self.codes.size:
            rows = zip(self.codes, self.step, artifact, strict=True)
            crossed = [_expectation(*row) for row in rows]
            found += self.rest - self.weight * np.asarray(crossed)
        return found


def scored_rows(windows: Sequence[Sequence[int]]) -> int:
    """Tokens whose predictions are kept: the second half of each window is scored."""
    return sum(len(window) - 1 - len(window) // 2 for window in windows)


def keep(
    base: Predictor,
    windows: Sequence[Sequence[int]],
    reader: Reader[Predictor],
    step: int,
    folder: Path,
    progress: Progress,
) -> bool:
    """Write to `folder` what `base` predicts over `windows` of token ids; whole, or not at all.
    False, before anything is read, where it would be more than MOST_BYTES. Raises DiskFull or
    NotWritable."""
    if kept_bytes(base.vocabulary, scored_rows(windows)) > MOST_BYTES:
        return False
    with replacing_folder(folder) as temporary:
        np.save(temporary / WINDOWS, np.asarray(windows, dtype=np.int32))
        for number, found in enumerate(read(base, windows, reader, step, progress)):
            np.savez(temporary / _name(number), **_coded(found)._asdict())
    return True


def compare_kept(
    folder: Path, artifact: Session, reader: Reader[Session], step: int, progress: Progress
) -> Figures:
    """The figures of `artifact` against what `keep` wrote with the same `step`."""
    windows = np.load(folder / WINDOWS).tolist()
    figures = no_figures(len(windows))
    for number, found in enumerate(read(artifact, windows, reader, step, progress)):
        with np.load(folder / _name(number)) as arrays:
            kept = Kept(**arrays)
        expected = Expected(kept.divergence(found.rows), kept.likeliest, kept.following)
        add_figures(figures, found, expected)
    return figures


def _name(number: int) -> str:
    return f"step-{number:06d}.npz"


def _coded(found: Step) -> Kept:
    tokens, exact, codes, step, weight, rest = zip(*map(_row, found.rows), strict=True)
    return Kept(
        np.stack(tokens), np.stack(exact), np.stack(codes), np.asarray(step), np.asarray(weight),
        np.asarray(rest), found.rows.argmax(axis=-1), found.of_following(),
    )  # fmt: skip


def _row(
    row: Logits,
) -> tuple[NDArray[np.int32], Logits, NDArray[np.uint8], float, float, float]:
    """Log-probabilities [vocabulary], as the first fields of `Kept` have them."""
    if len(row) <= LIKELIEST:
        return np.arange(len(row), dtype=np.int32), row, np.empty(0, np.uint8), 0.0, 0.0, 0.0
    tokens = np.argpartition(row, len(row) - LIKELIEST)[len(row) - LIKELIEST :].astype(np.int32)
    probabilities = np.exp(row)
    probabilities[tokens] = 0.0
    possible = probabilities > 0
    if not possible.any():
        return tokens, row[tokens], np.zeros(len(row), np.uint8), 0.0, 0.0, 0.0
    highest, lowest = row[possible].max(), row[possible].min()
    step = min(LARGEST_STEP, max(float(highest - lowest), 1e-6) / (HIGHEST - LOWEST))
    places = np.where(possible, row - highest, 0.0) / step + HIGHEST
    codes = np.rint(np.maximum(places, LOWEST)).astype(np.uint8)
    codes[~possible] = 0
    held = _levels(step)[codes].sum(dtype=np.float64)
    weight = float(probabilities.sum(dtype=np.float64) / held)
    return tokens, row[tokens], codes, step, weight, weight * _expectation(codes, step, row)


def _levels(step: float) -> Logits:
    """What each code stands for, beside the highest."""
    levels: Logits = np.exp(step * (np.arange(HIGHEST + 1) - HIGHEST)).astype(np.float32)
    levels[0] = 0.0
    return levels


def _expectation(codes: NDArray[np.uint8], step: float, row: Logits) -> float:
    """The sum of what codes [vocabulary] stand for, times log-probabilities."""
    levels = _levels(step)[codes]
    with np.errstate(invalid="ignore"):
        found = float((levels * row).sum())
    if np.isfinite(found):
        return found
    return float(np.multiply(levels, row, where=levels != 0, out=np.zeros_like(row)).sum())
