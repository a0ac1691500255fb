"""How far an artifact's predictions are from its base's: the quick first signal.

Kullback-Leibler divergence D(base || artifact) in nats a token, as llama.cpp's perplexity tool
reports it. Tokens of a window are correlated, so intervals resample whole windows.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from edgecomp.measure.statistics import Interval, bootstrap_mean_interval
from edgecomp.runtimes.protocol import DivergenceSamples
from edgecomp.value import Value


class DivergenceSummary(Value):
    """Divergence over a text. Intervals hold 95 %; None where a single window was read."""

    schema_version: Literal[1] = 1
    windows: int
    tokens: int
    kl_mean: float
    kl_mean_interval: Interval | None
    kl_median: float
    kl_p99: float
    kl_max: float
    agreement_percent: float
    """Tokens at which both have the same first choice."""

    agreement_interval: Interval | None
    base_perplexity: float
    artifact_perplexity: float
    perplexity_ratio: float
    """artifact / base, exp of the mean difference of log-likelihoods."""

    perplexity_ratio_interval: Interval | None


def summarise(samples: DivergenceSamples) -> DivergenceSummary:
    """Summarise per-token figures [windows][scored tokens]; at least one token."""
    kl = np.concatenate([np.asarray(window) for window in samples.kl])
    base = np.concatenate([np.asarray(window) for window in samples.base_nll])
    artifact = np.concatenate([np.asarray(window) for window in samples.artifact_nll])
    agree = np.concatenate([np.asarray(window) for window in samples.agree])
    growth = [
        tuple(np.subtract(after, before))
        for after, before in zip(samples.artifact_nll, samples.base_nll, strict=True)
    ]
    growth_interval = _window_interval(tuple(growth))
    agreement_interval = _window_interval(samples.agree)
    return DivergenceSummary(
        windows=len(samples.kl),
        tokens=len(kl),
        kl_mean=float(kl.mean()),
        kl_mean_interval=_window_interval(samples.kl),
        kl_median=float(np.median(kl)),
        kl_p99=float(np.percentile(kl, 99)),
        kl_max=float(kl.max()),
        agreement_percent=100 * float(agree.mean()),
        agreement_interval=agreement_interval
        and Interval(low=100 * agreement_interval.low, high=100 * agreement_interval.high),
        base_perplexity=math.exp(base.mean()),
        artifact_perplexity=math.exp(artifact.mean()),
        perplexity_ratio=math.exp((artifact - base).mean()),
        perplexity_ratio_interval=growth_interval
        and Interval(low=math.exp(growth_interval.low), high=math.exp(growth_interval.high)),
    )


def _window_interval(windows: tuple[tuple[float, ...], ...]) -> Interval | None:
    if len(windows) < 2:
        return None
    means = [float(np.mean(window)) for window in windows]
    return bootstrap_mean_interval(means, weights=[len(window) for window in windows])
