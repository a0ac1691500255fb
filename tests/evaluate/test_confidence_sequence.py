"""Bounds and p-values that hold at every moment of asking: exact cases, a slow reference, and how
often they are wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.evaluate.confidence_sequence import (
    LARGEST_STAKE,
    STAKES,
    exceeds_p,
    mean_interval,
    stays_within_p,
)

SET = 400
MOMENTS = (8, 16, 32, 64, 96, 128, 200, 300, SET)
DROPS = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), max_size=60)


def set_of(lost: int, won: int, seed: int, size: int = SET) -> list[float]:
    """The drops of a whole set in an order by chance."""
    drops = np.zeros(size)
    drops[:lost], drops[lost : lost + won] = 1, -1
    np.random.default_rng(seed).shuffle(drops)
    return list(map(float, drops))


def slow_p(drops: Sequence[float], population: int | None, margin: float) -> float:
    """`stays_within_p` as it is defined: bet after bet, hand by hand."""
    capitals = [1.0] * len(STAKES)
    smallest = 1.0
    for index, drop in enumerate(drops):
        fair = margin
        if population is not None:
            fair = (population * margin - sum(drops[:index])) / (population - index)
        if fair > 1 + 1e-9:
            return 0.0
        fair = min(max(fair, -1.0), 1.0)
        for place, share in enumerate(STAKES):
            stake = LARGEST_STAKE * share / max(1 - fair, 1e-9)
            capitals[place] *= 1 - stake * (drop - fair)
        mean = sum(capitals) / len(capitals)
        smallest = min(smallest, 1 / mean) if mean > 0 else smallest
    return smallest


@pytest.mark.parametrize("population", [None, SET, 150])
@pytest.mark.parametrize("drops", [set_of(8, 5, 1, 100), set_of(0, 0, 1, 60), [0.5, -0.25] * 40])
def test_p_values_are_what_betting_hand_by_hand_gives(
    drops: list[float], population: int | None
) -> None:
    for margin in (0.02, 0.05, 0.2):
        expected = slow_p(drops, population, margin)
        assert stays_within_p(drops, population, margin) == pytest.approx(expected, rel=1e-9)
        mirrored = slow_p([-drop for drop in drops], population, -margin)
        assert exceeds_p(drops, population, margin) == pytest.approx(mirrored, rel=1e-9)


@given(DROPS, st.floats(0.005, 0.5))
def test_a_whole_set_is_known_exactly(drops: list[float], margin: float) -> None:
    if not drops:
        return
    mean, size = sum(drops) / len(drops), len(drops)
    if abs(mean - margin) < 1e-6:
        return
    assert (exceeds_p(drops, size, margin) == 0.0) == (mean > margin)
    assert (stays_within_p(drops, size, margin) == 0.0) == (mean < margin)
    interval = mean_interval(drops, size)
    assert interval.low == pytest.approx(mean) and interval.high == pytest.approx(mean)


def test_a_drop_of_just_what_is_tolerated_is_within() -> None:
    drops = set_of(20, 0, 3)
    assert stays_within_p(drops, SET, 0.05) == 0.0
    assert exceeds_p(drops, SET, 0.05) > 0.5


@given(DROPS)
def test_intervals_lie_within_what_is_possible_and_hold_the_mean_of_the_answers(
    drops: list[float],
) -> None:
    interval = mean_interval(drops, SET)
    seen, left = sum(drops), SET - len(drops)
    assert (seen - left) / SET - 1e-9 <= interval.low <= interval.high <= (seen + left) / SET + 1e-9
    mean = seen / len(drops) if drops else 0.0
    assert interval.low <= mean + 1e-9 and mean - 1e-9 <= interval.high


def test_nothing_asked_says_nothing() -> None:
    assert (exceeds_p([], SET, 0.05), stays_within_p([], SET, 0.05)) == (1.0, 1.0)
    assert mean_interval([], None).high == 1.0


def test_more_answers_of_a_kind_close_the_interval() -> None:
    widths = [
        found.high - found.low
        for found in (mean_interval([0.0] * count, None) for count in (10, 40, 160, 640))
    ]
    assert widths == sorted(widths, reverse=True) and widths[-1] < 0.03


@pytest.mark.parametrize("population", [SET, None])
def test_bounds_hold_at_all_moments_together_in_19_of_20_askings(population: int | None) -> None:
    wrong, runs = 0, 200
    for seed in range(runs):
        if population is None:
            chance = np.random.default_rng(seed)
            drops = list(chance.choice([1.0, 0.0, -1.0], p=[0.08, 0.87, 0.05], size=SET))
            truth = 0.03
        else:
            drops = set_of(32, 20, seed)
            truth = 12 / SET
        intervals = [mean_interval(drops[:count], population) for count in MOMENTS]
        wrong += any(not row.low - 1e-9 <= truth <= row.high + 1e-9 for row in intervals)
    # One run in twenty at most: 10 of 200, and 3 standard deviations for the draw.
    assert wrong <= 10 + 3 * math.sqrt(200 * 0.05 * 0.95)


@pytest.mark.parametrize(("lost", "won"), [(20, 0), (30, 10)])
def test_a_p_value_is_seldom_small_where_the_hypothesis_is_true(lost: int, won: int) -> None:
    runs, small = 400, 0
    for seed in range(runs):
        drops = set_of(lost, won, seed)
        small += exceeds_p(drops[:-1], SET, 0.05) <= 0.05
    assert small <= 20 + 3 * math.sqrt(400 * 0.05 * 0.95)


CONFSEQ = {
    (400, 20, 12): {50: (-0.080, 0.200), 100: (-0.033, 0.121), 200: (-0.001, 0.087)},
    (400, 4, 4): {50: (-0.134, 0.136), 100: (-0.078, 0.060), 200: (-0.038, 0.025)},
    (440, 44, 20): {50: (-0.092, 0.256), 100: (-0.087, 0.150), 200: (-0.030, 0.114)},
    (1000, 60, 40): {50: (-0.178, 0.138), 100: (-0.160, 0.040), 200: (-0.096, 0.028)},
}
"""What `betting_cs` of the package confseq 0.0.11 (the paper's authors') gives for the same drops,
scaled to 0..1 and back, with N and without running intersection: by questions asked."""


def test_bounds_are_those_of_the_papers_own_package_and_no_wider() -> None:
    random = np.random.default_rng(0)
    for (size, lost, won), rows in CONFSEQ.items():
        drops = np.zeros(size)
        drops[:lost], drops[lost : lost + won] = 1, -1
        random.shuffle(drops)
        for asked, (low, high) in rows.items():
            found = mean_interval(tuple(map(float, drops[:asked])), size)
            assert found.low == pytest.approx(low, abs=0.03)
            assert found.high == pytest.approx(high, abs=0.03)
            assert found.high - found.low < 1.05 * (high - low)
