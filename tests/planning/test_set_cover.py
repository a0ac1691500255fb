"""The fewest columns, and the best of a number of them, beside every set there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.planning.set_cover import SIZE_WEIGHT, Cover, best_columns, fewest_columns


@st.composite
def covers(draw: st.DrawFn, every_row: bool) -> Cover:
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    serves = random.random((rows, columns)) < draw(st.sampled_from([0.2, 0.5, 0.8]))
    if every_row:
        serves[np.arange(rows), random.integers(0, columns, rows)] = True
    # Few values, so that many columns are alike.
    losses = random.integers(0, 4, columns) / 4
    return Cover(
        serves, np.where(serves, losses[np.newaxis], 0.0), random.integers(1, 4, columns) * 1e8
    )


def worth(cover: Cover, columns: tuple[int, ...]) -> tuple[int, float]:
    """What is left out, then the cost with the sizes that part equals."""
    size = SIZE_WEIGHT * cover.sizes[list(columns)].sum() / cover.sizes.sum()
    return len(cover.uncovered(columns)), cover.cost(columns) + float(size)


def every_set(cover: Cover, most: int) -> list[tuple[int, ...]]:
    columns = range(cover.serves.shape[1])
    return [chosen for size in range(most + 1) for chosen in combinations(columns, size)]


@given(covers(every_row=True))
def test_no_smaller_set_covers_everything(cover: Cover) -> None:
    count = fewest_columns(cover)
    sets = every_set(cover, cover.serves.shape[1])
    assert count == min(len(chosen) for chosen in sets if not len(cover.uncovered(chosen)))


@given(covers(every_row=False), st.integers(0, 4))
def test_no_set_of_a_size_is_better(cover: Cover, count: int) -> None:
    found = best_columns(cover, count)
    assert len(found) <= count
    left_out, cost = worth(cover, found)
    best = min(worth(cover, chosen) for chosen in every_set(cover, count))
    assert left_out == best[0]
    assert cost == pytest.approx(best[1], abs=1e-6)


def test_a_row_that_nothing_serves_is_refused() -> None:
    with pytest.raises(ValueError, match="no column"):
        fewest_columns(Cover(np.zeros((1, 1), np.bool_), np.zeros((1, 1)), np.ones(1)))
