"""What can be said of the mean drop over a whole set of questions, at any moment of asking.

Questions are drawn without replacement, in an order that does not depend on the answers. Against
each hypothesis about the set's mean one bets on every next answer; the capital of a fair bet seldom
grows, so 1 / capital is a p-value that holds however often one looks and whenever one stops
(Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", Journal of the
Royal Statistical Society B 86, 2024; section 5 for draws without replacement). The capital is
spread over a grid of stakes, where the paper has one stake follow estimates: nothing to be tuned.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from edgecomp.evaluate.statistics import CONFIDENCE, Floats, Interval

STAKES = np.linspace(0.05, 1.0, 12)
LARGEST_STAKE = 0.95
"""Stakes are shares of the one at which the worst answer would take 95 % of the capital."""

MEANS = np.linspace(-1, 1, 1601)
"""Where an interval's ends are looked for: every eighth of a point."""

ROUNDING = 1e-9
"""Sums of graded scores are exact to this."""


def exceeds_p(drops: Sequence[float], population: int | None, margin: float) -> float:
    """p-value against "the set's mean drop is at most `margin`": small where it is larger, 0 where
    the answers still to come cannot change that.

    `drops`: base - artifact of the questions asked so far, each -1 to 1, in the order of asking;
    `population`: how many questions the set has, None where that is not known.
    """
    values = np.asarray(drops, dtype=np.float64)
    if _extremes(values, population)[0] > margin + ROUNDING:
        return 0.0
    return _against_at_least(-values, population, -margin)


def stays_within_p(drops: Sequence[float], population: int | None, margin: float) -> float:
    """p-value against "the set's mean drop is more than `margin`": small where it is not, 0 where
    the answers still to come cannot change that. Arguments as in `exceeds_p`."""
    values = np.asarray(drops, dtype=np.float64)
    if _extremes(values, population)[1] <= margin + ROUNDING:
        return 0.0
    return _against_at_least(values, population, margin)


def mean_interval(
    drops: Sequence[float], population: int | None, confidence: float = CONFIDENCE
) -> Interval:
    """Bounds of the set's mean drop that hold at all moments of asking together; arguments as in
    `exceeds_p`. When the whole set is asked they are its mean."""
    values = np.asarray(drops, dtype=np.float64)
    least, most = _extremes(values, population)
    middle = float(values.mean()) if len(values) else 0.0
    # Each end may be wrong in half of the cases that both together may.
    error = (1 - confidence) / 2
    above = MEANS[np.searchsorted(MEANS, middle) :]
    below = MEANS[: np.searchsorted(MEANS, middle)][::-1]
    # The further from the answers' mean a hypothesis lies, the less it is believed.
    high = bisect_left(above, -error, key=lambda m: -_against_at_least(values, population, m))
    low = bisect_left(below, -error, key=lambda m: -_against_at_least(-values, population, -m))
    return Interval(
        low=max(float(below[low]) if low < len(below) else -1.0, least),
        high=min(float(above[high]) if high < len(above) else 1.0, most),
    )


def _extremes(values: Floats, population: int | None) -> tuple[float, float]:
    """The lowest and the highest mean that the answers still to come allow the set."""
    if population is None:
        return -1.0, 1.0
    seen, left = float(values.sum()), population - len(values)
    return (seen - left) / population, (seen + left) / population


def _against_at_least(values: Floats, population: int | None, mean: float) -> float:
    """p-value against "the set's mean is at least `mean`", by bets that the next value is lower."""
    if not len(values):
        return 1.0
    # The mean that the questions left must have for the set to have `mean`.
    needed = np.full(len(values), mean)
    if population is not None:
        seen = np.concatenate([[0.0], np.cumsum(values)[:-1]])
        needed = (population * mean - seen) / (population - np.arange(len(values)))
    if (needed > 1 + ROUNDING).any():
        return 0.0
    fair = np.clip(needed, -1.0, 1.0)
    stakes = LARGEST_STAKE * STAKES / np.maximum(1 - fair, ROUNDING)[:, None]
    gains = np.log1p(-stakes * (values - fair)[:, None])
    capital = np.cumsum(gains, axis=0)
    largest = capital.max(axis=1)
    mixed = largest + np.log(np.exp(capital - largest[:, None]).mean(axis=1))
    return float(min(1.0, np.exp(-mixed.max())))
