"""How far an artifact's predictions are from its base's: the quick first signal.

Kullback-Leibler divergence D(base || artifact) in nats a token, as llama.cpp's perplexity tool
reports it. Tokens of a window are correlated, so intervals resample whole windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.statistics import Floats, Interval, bootstrap_mean_interval, percentiles
from edgecomp.runtimes.protocol import DivergenceSamples

NEAR_BASE_NATS = 0.005
"""Below, two files differ from their base by what other threads or another build of the runtime
move as well, and the one with the fewer nats need not answer better."""


class DivergenceSummary(FrozenModel):
    """Divergence over a text. Intervals hold 95 %; None where a single window was read."""

    schema_version: Literal[1] = 1
    windows: int
    tokens: int
    kl_mean: float
    kl_mean_interval: Interval | None
    kl_median: float
    kl_p99: float
    kl_p999: float | None = None
    """None in reports of before it was kept."""

    kl_max: float
    agreement_percent: float
    """Tokens at which both have the same first choice."""

    agreement_interval: Interval | None
    base_perplexity: float
    artifact_perplexity: float
    perplexity_ratio: float
    """artifact / base, exp of the mean difference of log-likelihoods."""

    perplexity_ratio_interval: Interval | None

    @property
    def kl_or_infinity(self) -> float:
        """`kl_mean` to be put in order: what is not a number comes last."""
        return math.inf if math.isnan(self.kl_mean) else self.kl_mean

    @property
    def ruined(self) -> bool:
        """Whether the artifact's predictions are not numbers, or give no chance to what follows
        where the base gives it one."""
        finite = math.isfinite(self.base_perplexity)
        return math.isnan(self.artifact_perplexity) or (
            finite and math.isinf(self.artifact_perplexity)
        )


def summarise(samples: DivergenceSamples) -> DivergenceSummary:
    """Summarise per-token figures [windows][scored tokens]; at least one token.

    A perplexity beyond what a float holds is infinite; figures of predictions that are not numbers
    are NaN.
    """
    kl = np.concatenate([np.asarray(window) for window in samples.kl])
    base = np.concatenate([np.asarray(window) for window in samples.base_nll])
    artifact = np.concatenate([np.asarray(window) for window in samples.artifact_nll])
    agree = np.concatenate([np.asarray(window) for window in samples.agree])
    growth = [
        _growth(np.asarray(before), np.asarray(after))
        for before, after in zip(samples.base_nll, samples.artifact_nll, strict=True)
    ]
    growth_interval = _window_interval(growth)
    agreement_interval = _window_interval(samples.agree)
    return DivergenceSummary(
        windows=len(samples.kl),
        tokens=len(kl),
        kl_mean=float(kl.mean()),
        kl_mean_interval=_window_interval(samples.kl),
        kl_median=float(np.median(kl)),
        kl_p99=percentiles(kl, [99])[0],
        kl_p999=percentiles(kl, [99.9])[0],
        kl_max=float(kl.max()),
        agreement_percent=100 * float(agree.mean()),
        agreement_interval=agreement_interval
        and Interval(low=100 * agreement_interval.low, high=100 * agreement_interval.high),
        base_perplexity=_exp(base.mean()),
        artifact_perplexity=_exp(artifact.mean()),
        perplexity_ratio=_exp(np.concatenate(growth).mean()),
        perplexity_ratio_interval=growth_interval
        and Interval(low=_exp(growth_interval.low), high=_exp(growth_interval.high)),
    )


def separable(first: DivergenceSummary, second: DivergenceSummary) -> bool:
    """Whether divergence tells two files apart: outside both intervals, and not so near the base
    that it says nothing."""
    if max(first.kl_mean, second.kl_mean) < NEAR_BASE_NATS:
        return False
    if first.kl_mean_interval is None or second.kl_mean_interval is None:
        return False
    return (
        first.kl_mean_interval.high < second.kl_mean_interval.low
        or second.kl_mean_interval.high < first.kl_mean_interval.low
    )


def _growth(before: Floats, after: Floats) -> Floats:
    """after - before; none where both give no chance to what follows."""
    growth = np.zeros_like(before)
    return np.subtract(after, before, out=growth, where=(after != before))


def _exp(nats: float) -> float:
    try:
        return math.exp(nats)
    except OverflowError:
        return math.inf


def _window_interval(windows: Sequence[Sequence[float] | Floats]) -> Interval | None:
    if len(windows) < 2:
        return None
    means = [float(np.mean(window)) for window in windows]
    return bootstrap_mean_interval(means, weights=[np.size(window) for window in windows])
