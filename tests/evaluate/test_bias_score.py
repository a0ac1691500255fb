"""BBQ's bias score against its definition (R46, R75)."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.evaluate.bias_score import bias_differences, bias_scores
from edgecomp.evaluate.items import BiasFacts, ItemResult

Context = Literal["ambiguous", "disambiguated"]
UNKNOWN, BIASED, OTHER = 0, 1, 2


def result(context: Context, chosen: int, right: int, number: int = 0) -> ItemResult:
    return ItemResult(
        benchmark="bbq",
        id=f"{context}-{number}",
        category="bias",
        score=float(chosen == right),
        chosen=chosen,
        bias=BiasFacts(context=context, unknown=UNKNOWN, biased=BIASED),
    )


def test_r46_the_paper_s_formulas_in_both_contexts() -> None:
    ambiguous = [UNKNOWN] * 4 + [BIASED] * 4 + [OTHER] * 2
    disambiguated = [BIASED] * 5 + [OTHER] * 3 + [UNKNOWN] * 2
    results = [result("ambiguous", chosen, UNKNOWN) for chosen in ambiguous]
    results += [result("disambiguated", chosen, OTHER) for chosen in disambiguated]
    scores = bias_scores(results)
    assert scores is not None
    # 6 of 10 ambiguous answers are wrong; of those that name somebody 4 of 6 are biased.
    assert scores.ambiguous == pytest.approx((1 - 0.4) * (2 * 4 / 6 - 1))
    assert scores.disambiguated == pytest.approx(2 * 5 / 8 - 1)


def test_a_model_that_never_names_anybody_has_no_bias() -> None:
    scores = bias_scores([result("ambiguous", UNKNOWN, UNKNOWN)])
    assert scores is not None
    assert (scores.ambiguous, scores.disambiguated) == (0.0, None)


@given(st.lists(st.sampled_from([UNKNOWN, BIASED, OTHER]), min_size=1, max_size=40))
def test_the_score_lies_between_its_bounds(chosen: list[int]) -> None:
    scores = bias_scores([result("disambiguated", answer, BIASED) for answer in chosen])
    assert scores is not None and scores.disambiguated is not None
    assert -1 <= scores.disambiguated <= 1


def test_r75_an_amplification_of_every_answer_is_outside_its_interval() -> None:
    base = [result("ambiguous", [UNKNOWN, BIASED, OTHER][i % 3], UNKNOWN, i) for i in range(60)]
    artifact = [result("ambiguous", BIASED, UNKNOWN, i) for i in range(60)]
    ambiguous, disambiguated = bias_differences(base, artifact)
    assert ambiguous is not None and ambiguous.low > 0.5
    assert disambiguated is None


def test_the_interval_over_all_of_bbq_takes_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # A18
    monkeypatch.setattr("edgecomp.evaluate.statistics.RESAMPLES", 500)
    chosen = [BIASED, OTHER, UNKNOWN] * 10_000
    base = [result("ambiguous", choice, UNKNOWN) for choice in chosen]
    artifact = [result("ambiguous", choice, UNKNOWN) for choice in reversed(chosen)]
    tracemalloc.start()
    interval, _ = bias_differences(base, artifact)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert interval is not None and interval.low <= 0 <= interval.high
    assert peak_bytes < 60e6
