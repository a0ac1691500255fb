"""Medians, intervals and paired tests: what turns repeats and answers into statements.

Every figure edgecomp reports carries its noise; a difference inside its noise is "not resolved".
scipy's tests take most of a second to import and are only needed to compute: whoever reads a report
back does without.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgecomp.common.frozen_model import FrozenModel

CONFIDENCE = 0.95
POWER = 0.8
RESAMPLES = 4000
MOST_DRAWN = 1 << 21
"""Indices of bootstrap samples that are held at a time (16 MiB)."""

Floats = NDArray[np.float64]


class Interval(FrozenModel):
    """Bounds that hold the true value at 95 % confidence, in the unit of the estimate."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside; bounds that are not numbers exclude nothing."""
        return value < self.low or value > self.high


class Spread(FrozenModel):
    """Repeats of one quantity: their median and their 5th and 95th percentile."""

    median: float
    p5: float
    p95: float
    count: int


def spread(values: ArrayLike) -> Spread:
    """Summarise repeats, at least one."""
    p5, median, p95 = np.percentile(np.asarray(values, dtype=np.float64), [5, 50, 95])
    return Spread(median=float(median), p5=float(p5), p95=float(p95), count=int(np.size(values)))


def bootstrap_mean_interval(
    values: ArrayLike, weights: ArrayLike | None = None, *, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the (weighted) mean of independent `values` [n].

    For correlated tokens, give the mean of each window and the number of its tokens as weight:
    windows are then resampled whole (block bootstrap). Efron & Tibshirani 1993, chapter 13.
    scipy.stats.bootstrap would save few of these lines and takes most of a second to import.
    """
    sample = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(sample) if weights is None else np.asarray(weights, dtype=np.float64)
    weighted = sample * weight
    means = [
        weighted[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
        for drawn in resample_indices(len(sample), seed)
    ]
    return percentile_interval(np.concatenate(means))


def resample_indices(count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Indices drawn with replacement: RESAMPLES bootstrap samples, one a row [count], in pieces of
    at most MOST_DRAWN indices or one row. The samples do not depend on the pieces."""
    generator = np.random.default_rng(seed)
    rows = max(MOST_DRAWN // count, 1)
    for done in range(0, RESAMPLES, rows):
        yield generator.integers(0, count, size=(min(rows, RESAMPLES - done), count))


def percentile_interval(estimates: Floats) -> Interval:
    """The middle 95 % of bootstrap estimates; estimates that are not numbers are left out, and
    where none is a number the bounds are none either."""
    tail = 100 * (1 - CONFIDENCE) / 2
    numbers = estimates[~np.isnan(estimates)]
    if not len(numbers):
        return Interval(low=math.nan, high=math.nan)
    low, high = percentiles(numbers, [tail, 100 - tail])
    return Interval(low=low, high=high)


def percentiles(values: ArrayLike, points: Sequence[float]) -> list[float]:
    """Percentiles of `values`, at least one; NaN where one of them is.

    Between infinite values nothing can be interpolated: there the value above is taken.
    """
    sample = np.asarray(values, dtype=np.float64)
    method: Literal["linear", "higher"] = "linear" if np.isfinite(sample).all() else "higher"
    return [float(found) for found in np.percentile(sample, points, method=method)]


def paired_difference_interval(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0
) -> Interval:
    """Interval of the mean of first - second over the same items, in the scores' own unit.

    Scores of 0 and 1 take Agresti & Min's interval for matched pairs (Statistics in Medicine 24,
    2005): half an item is added to each cell of the 2 x 2 table. A bootstrap would have no width
    where no answer changed, which claims too much from a few items. Graded scores are bootstrapped.
    """
    if not {*first, *second} <= {0.0, 1.0}:
        return bootstrap_mean_interval(np.subtract(first, second), seed=seed)
    lost, won = discordant(first, second)
    count = len(first) + 2
    difference = (lost - won) / count
    variance = (lost + won + 1) / count - difference**2
    half = normal_quantile() * math.sqrt(variance / count)
    return Interval(low=max(difference - half, -1.0), high=min(difference + half, 1.0))


def discordant(first: Sequence[float], second: Sequence[float]) -> tuple[int, int]:
    """Items only `first` has right, and items only `second` has right."""
    pairs = list(zip(first, second, strict=True))
    return sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)


def mcnemar_p(lost: int, won: int) -> float:
    """Exact two-sided McNemar test: the chance of so uneven a split of the changed answers."""
    from scipy.stats import binomtest

    if lost + won == 0:
        return 1.0
    return float(binomtest(lost, lost + won, 0.5).pvalue)


def wilson_interval(successes: int, count: int) -> Interval:
    """Interval of a proportion (Wilson 1927)."""
    from scipy.stats import binomtest

    found = binomtest(successes, count).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(low=float(found.low), high=float(found.high))


def items_to_resolve(first: Sequence[float], second: Sequence[float]) -> int | None:
    """Items at which a true difference as large as the one seen would be resolved 4 times in 5.

    n = ((z_0.975 + z_0.8) s / d)^2 for paired differences of mean d and standard deviation s.
    None where no difference was seen.
    """
    differences = np.subtract(first, second)
    mean = float(differences.mean())
    if mean == 0:
        return None
    deviation = float(differences.std())
    needed = ((normal_quantile() + NormalDist().inv_cdf(POWER)) * deviation / mean) ** 2
    return max(math.ceil(needed), 1)


def normal_quantile() -> float:
    """z of the two-sided 95 % interval, 1.96."""
    return NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
