"""Intervals and paired tests against slow, obvious references and their own laws."""

from __future__ import annotations

import math
import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.evaluate.statistics import (
    RESAMPLES,
    bootstrap_mean_interval,
    discordant,
    items_to_resolve,
    mcnemar_p,
    paired_difference_interval,
    resample_indices,
    spread,
    wilson_interval,
)

answers = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def split(pairs: list[tuple[bool, bool]]) -> tuple[list[float], list[float]]:
    return [float(a) for a, _ in pairs], [float(b) for _, b in pairs]


@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_is_the_share_of_splits_at_least_as_uneven(lost: int, won: int) -> None:
    count = lost + won
    worst = max(lost, won)
    extreme = sum(math.comb(count, k) for k in range(count + 1) if max(k, count - k) >= worst)
    assert mcnemar_p(lost, won) == pytest.approx(extreme / 2**count)


@given(answers)
def test_an_interval_of_paired_answers_holds_the_shrunken_difference_and_flips_its_sign(
    pairs: list[tuple[bool, bool]],
) -> None:
    first, second = split(pairs)
    forward = paired_difference_interval(first, second)
    backward = paired_difference_interval(second, first)
    lost, won = discordant(first, second)
    assert forward.low <= (lost - won) / (len(pairs) + 2) <= forward.high
    assert forward.low == pytest.approx(-backward.high)
    assert -1 <= forward.low < forward.high <= 1


def test_unchanged_answers_leave_an_interval_that_narrows_with_their_number() -> None:
    few = paired_difference_interval([1.0] * 20, [1.0] * 20)
    many = paired_difference_interval([1.0] * 500, [1.0] * 500)
    assert few.low < 0 < few.high
    assert many.high < few.high


def test_the_paired_interval_covers_the_true_difference_about_95_times_in_100() -> None:
    random = np.random.default_rng(1)
    chances = {(1, 1): 0.5, (1, 0): 0.2, (0, 1): 0.1, (0, 0): 0.2}
    cells, weights = list(chances), list(chances.values())
    covered = 0
    for _ in range(1000):
        drawn = [cells[i] for i in random.choice(len(cells), size=80, p=weights)]
        interval = paired_difference_interval(
            [float(a) for a, _ in drawn], [float(b) for _, b in drawn]
        )
        covered += not interval.excludes(0.1)
    assert 925 <= covered <= 980


def test_graded_scores_are_bootstrapped_and_repeat_exactly() -> None:
    first = [0.2, 0.9, 0.4, 0.7, 0.5, 0.6]
    second = [0.1, 0.8, 0.5, 0.4, 0.5, 0.3]
    interval = paired_difference_interval(first, second)
    assert interval == paired_difference_interval(first, second)
    assert interval.low < np.mean(np.subtract(first, second)) < interval.high


def test_a_small_bootstrap_agrees_with_all_possible_resamples() -> None:
    values = [0.0, 1.0, 2.0, 5.0, 7.0]
    means = [float(np.mean(drawn)) for drawn in product(values, repeat=5)]
    low, high = np.percentile(means, [2.5, 97.5])
    interval = bootstrap_mean_interval(values)
    # Means move in steps of 0.2; 4000 draws find the step.
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.201)


def test_bootstrap_samples_are_those_of_one_draw_in_pieces_that_bound_the_memory() -> None:  # A18
    whole = np.random.default_rng(3).integers(0, 1500, size=(RESAMPLES, 1500))
    pieces = list(resample_indices(1500, seed=3))
    assert len(pieces) > 1
    assert np.array_equal(np.concatenate(pieces), whole)


def test_a_bootstrap_of_all_of_bbq_takes_little_memory() -> None:  # A18
    values = np.random.default_rng(0).random(60_000)
    tracemalloc.start()
    interval = bootstrap_mean_interval(values)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100e6
    error = 1.96 * values.std() / 60_000**0.5
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - error, values.mean() + error), abs=0.1 * error
    )


def test_estimates_that_are_not_finite_give_bounds_and_no_false_resolution() -> None:  # A5
    nan, inf = float("nan"), float("inf")
    assert bootstrap_mean_interval([1.0, 2.0, inf]).high == inf
    nothing = bootstrap_mean_interval([nan, nan])
    assert repr(nothing) == "Interval(low=nan, high=nan)"
    assert not nothing.excludes(0.0)


def test_a_weight_counts_a_window_as_often_as_it_has_tokens() -> None:
    interval = bootstrap_mean_interval([1.0, 1.0, 3.0, 3.0], weights=[1, 1, 1000, 1000])
    assert interval.high == pytest.approx(3.0)
    assert interval.low > 2.9 or interval.low == 1.0


@given(st.integers(1, 200), st.data())
def test_wilson_holds_the_proportion_and_stays_between_0_and_1(
    count: int, data: st.DataObject
) -> None:
    successes = data.draw(st.integers(0, count))
    interval = wilson_interval(successes, count)
    assert -1e-12 <= interval.low <= successes / count + 1e-12
    assert successes / count - 1e-12 <= interval.high <= 1 + 1e-12


@settings(max_examples=50)
@given(answers)
def test_a_difference_needs_items_exactly_where_it_was_seen(
    pairs: list[tuple[bool, bool]],
) -> None:
    first, second = split(pairs)
    needed = items_to_resolve(first, second)
    assert (needed is None) == (sum(first) == sum(second))


def test_ten_changed_answers_of_a_hundred_all_lost_need_fewer_items_than_six_to_four() -> None:
    base = [1.0] * 10 + [0.0] * 90
    all_lost = items_to_resolve(base, [0.0] * 100)
    mixed = items_to_resolve([1.0] * 6 + [0.0] * 94, [0.0] * 6 + [1.0] * 4 + [0.0] * 90)
    assert all_lost is not None and mixed is not None
    # (1.96 + 0.8416)^2 * 0.1 * 0.9 / 0.1^2 and (2.8016)^2 * (0.1 - 0.02^2) / 0.02^2.
    assert (all_lost, mixed) == (71, 1955)


def test_a_spread_is_the_median_and_the_outer_twentieths() -> None:
    summary = spread(range(101))
    assert (summary.p5, summary.median, summary.p95, summary.count) == (5, 50, 95, 101)
