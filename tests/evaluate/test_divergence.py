"""Summaries of per-token divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgecomp.evaluate.divergence import DivergenceSummary, separable, summarise
from edgecomp.runtimes.divergence import (
    Expected,
    Step,
    add_figures,
    divergence,
    log_probabilities,
    no_figures,
)
from edgecomp.runtimes.protocol import DivergenceSamples

Windows = tuple[tuple[float, ...], ...]


def samples(kl: Windows, growth: float = 0.0) -> DivergenceSamples:
    nll = tuple(tuple(2.0 + 0.1 * i for i, _ in enumerate(window)) for window in kl)
    return DivergenceSamples(
        kl=kl,
        agree=tuple(tuple(float(value < 0.5) for value in window) for window in kl),
        base_nll=nll,
        artifact_nll=tuple(tuple(value + growth for value in window) for window in nll),
    )


def test_an_identical_model_does_not_diverge() -> None:
    summary = summarise(samples(((0.0,) * 8,) * 4))
    assert (summary.kl_mean, summary.kl_max, summary.agreement_percent) == (0.0, 0.0, 100.0)
    assert summary.perplexity_ratio == 1.0
    assert summary.base_perplexity == summary.artifact_perplexity
    assert (summary.windows, summary.tokens) == (4, 32)


def test_figures_are_those_of_all_tokens_together() -> None:
    kl = ((0.1, 0.2, 0.9), (0.4, 0.3, 0.2))
    summary = summarise(samples(kl, growth=math.log(1.5)))
    flat = np.concatenate(kl)
    assert summary.kl_mean == pytest.approx(flat.mean())
    assert summary.kl_median == pytest.approx(np.median(flat))
    assert summary.kl_p99 == pytest.approx(np.percentile(flat, 99))
    assert summary.kl_max == 0.9
    assert summary.agreement_percent == pytest.approx(500 / 6)
    assert summary.perplexity_ratio == pytest.approx(1.5)
    assert summary.artifact_perplexity == pytest.approx(1.5 * summary.base_perplexity)


def test_tokens_of_a_window_move_together_so_the_interval_resamples_windows() -> None:
    together = tuple((level,) * 64 for level in (0.1, 0.1, 0.3, 0.3))
    mixed = (((0.1, 0.3) * 32),) * 4
    wide, narrow = (summarise(samples(kl)).kl_mean_interval for kl in (together, mixed))
    assert wide is not None and narrow is not None
    assert wide.high - wide.low > 0.1
    assert narrow.high - narrow.low == pytest.approx(0.0, abs=1e-12)


def test_one_window_gives_no_interval() -> None:
    summary = summarise(samples(((0.1, 0.2),)))
    assert summary.kl_mean_interval is None
    assert summary.agreement_interval is None
    assert summary.perplexity_ratio_interval is None


def test_windows_of_unequal_length_count_by_their_tokens() -> None:
    summary = summarise(samples(((1.0,), (0.0,) * 9)))
    assert summary.kl_mean == pytest.approx(0.1)


def test_a_perplexity_beyond_what_a_float_holds_is_infinite() -> None:  # A5
    summary = summarise(samples(((0.1, 0.2), (0.1, 0.2)), growth=800.0))
    assert (summary.artifact_perplexity, summary.perplexity_ratio) == (math.inf, math.inf)
    assert summary.base_perplexity == pytest.approx(math.exp(2.05))
    assert summary.perplexity_ratio_interval is not None
    assert summary.perplexity_ratio_interval.low == math.inf
    assert summary.ruined


def test_infinite_divergences_are_summarised_without_nan() -> None:  # A5
    summary = summarise(samples(((0.1, math.inf, math.inf), (0.1, 0.2, 0.3))))
    assert (summary.kl_mean, summary.kl_max, summary.kl_p99) == (math.inf,) * 3
    assert summary.kl_median == 0.25
    assert summary.kl_mean_interval is not None
    assert summary.kl_mean_interval.high == math.inf
    assert not summary.ruined


def figures(base: list[float], artifact: list[float], following: int = 0) -> dict[str, float]:
    """The figures of one token, of unnormalised logits."""
    found = no_figures(1)
    p, q = (log_probabilities(np.asarray([row], np.float32)) for row in (base, artifact))
    before, after = Step(0, [following], p), Step(0, [following], q)
    expected = Expected(divergence(p, q), p.argmax(axis=-1), before.of_following())
    add_figures(found, after, expected)
    return {name: values[0][0] for name, values in found.items()}


def test_a_token_that_the_base_rules_out_adds_nothing() -> None:  # A5
    whole = figures([1.0, 2.0], [2.0, 1.0])
    for third in (-math.inf, 0.0):
        masked = figures([1.0, 2.0, -math.inf], [2.0, 1.0, third])
        assert math.isfinite(masked["kl"]) and masked["kl"] >= whole["kl"] - 1e-6
    assert figures([1.0, 2.0, -math.inf], [2.0, 1.0, -math.inf]) == pytest.approx(whole)


def test_a_token_that_only_the_artifact_rules_out_makes_the_divergence_infinite() -> None:  # A5
    found = figures([1.0, 2.0], [-math.inf, 1.0])
    assert (found["kl"], found["artifact_nll"]) == (math.inf, math.inf)


def test_predictions_that_are_not_numbers_agree_with_none() -> None:  # A5
    found = figures([2.0, 1.0], [math.nan, math.nan])
    assert math.isnan(found["kl"]) and math.isnan(found["artifact_nll"])
    assert found["agree"] == 0.0


def nats(mean: float, windows: int = 8) -> DivergenceSummary:
    """A summary whose windows lie within a tenth of `mean`."""
    kl = tuple((mean * (1 + 0.1 * (index % 3 - 1)),) * 4 for index in range(windows))
    flat = ((1.0,) * 4,) * windows
    return summarise(DivergenceSamples(kl=kl, agree=flat, base_nll=flat, artifact_nll=flat))


def test_divergences_separate_outside_their_intervals_and_away_from_the_base() -> None:
    assert separable(nats(0.02), nats(0.05))
    assert not separable(nats(0.05), nats(0.051))
    assert not separable(nats(0.001), nats(0.003))
