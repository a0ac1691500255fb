"""The fewest columns that cover all rows, solved exactly; and the best of a number of columns.

Both are integer programs for HiGHS (scipy.optimize.milp): the set cover problem, and the p-median
problem with rows left out at a price (Daskin, Network and Discrete Location, chapters 4 and 6).
Rows that the same columns serve are one row of more weight, and a column that another one is never
worse than is left out first; neither changes the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, eye_array, hstack

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SIZE_WEIGHT = 1e-4
"""What the sizes of all columns together weigh beside a cost of 1: they part what costs alike."""


@dataclass(frozen=True)
class Cover:
    """Rows to cover. `serves` and `costs` are rows by columns; a cost counts where its column
    serves the row, and is from 0 to 1."""

    serves: Flags
    costs: Floats
    sizes: Floats

    def uncovered(self, columns: tuple[int, ...]) -> NDArray[np.int64]:
        """The rows that none of the columns serves."""
        return np.flatnonzero(~self.serves[:, list(columns)].any(axis=1))

    def choices(self, columns: tuple[int, ...], row: int) -> list[int]:
        """Those of the columns that serve the row, the one that costs least first."""
        able = [column for column in columns if self.serves[row, column]]
        return sorted(able, key=lambda column: (self.costs[row, column], self.sizes[column]))

    def cost(self, columns: tuple[int, ...]) -> float:
        """What the covered rows cost, each with the best of the columns."""
        picked = list(columns)
        costs = np.where(self.serves[:, picked], self.costs[:, picked], np.inf).min(
            axis=1, initial=np.inf
        )
        return float(costs[np.isfinite(costs)].sum())


def fewest_columns(cover: Cover) -> int:
    """How many columns cover every row. Raises ValueError where a row has none."""
    if not cover.serves.any(axis=1).all():
        raise ValueError("a row is served by no column")
    if not cover.serves.size:
        return 0
    reduced, _ = _without_dominated(_grouped(cover)[0])
    serves = csr_array(reduced.serves.astype(float))
    count = serves.shape[1]
    found = milp(
        np.ones(count),
        constraints=LinearConstraint(serves, lb=1),
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    return round(float(_solution(found).sum()))


def best_columns(cover: Cover, count: int) -> tuple[int, ...]:
    """At most `count` columns: those that leave the fewest rows uncovered, then cost least, each
    row by the best of them, then are smallest together."""
    if not cover.serves.size or count < 1:
        return ()
    grouped, weights = _grouped(cover)
    reduced, kept = _without_dominated(grouped)
    x = _solution(_located(reduced, weights, count))[: len(kept)]
    return tuple(int(column) for column in kept[x > 0.5])


def _grouped(cover: Cover) -> tuple[Cover, Floats]:
    """Rows that the same columns serve as one, their costs added; and how many each stands for."""
    patterns, which = np.unique(cover.serves, axis=0, return_inverse=True)
    which = which.reshape(-1)
    costs = np.zeros(patterns.shape)
    np.add.at(costs, which, np.where(cover.serves, cover.costs, 0.0))
    weights = np.bincount(which, minlength=len(patterns)).astype(float)
    return Cover(patterns, costs, cover.sizes), weights


def _without_dominated(cover: Cover) -> tuple[Cover, NDArray[np.int64]]:
    """Without columns that another one serves, costs and weighs at least as well as, and the
    places of those that stay."""
    kept: list[int] = []
    costs = np.where(cover.serves, cover.costs, np.inf)
    # A column can be beaten only by one that is no larger.
    for column in sorted(range(costs.shape[1]), key=lambda c: (cover.sizes[c], costs[:, c].sum())):
        if cover.serves[:, column].any() and not any(
            bool((costs[:, other] <= costs[:, column]).all()) for other in kept
        ):
            kept.append(column)
    places = np.array(sorted(kept), dtype=np.int64)
    return Cover(cover.serves[:, places], cover.costs[:, places], cover.sizes[places]), places


def _located(cover: Cover, weights: Floats, count: int) -> object:
    """The p-median program. Variables: each column, each pair of a row and a column that serves
    it, each row left out."""
    rows, columns = np.nonzero(cover.serves)
    pairs, many = len(rows), cover.serves.shape[1]
    sizes = SIZE_WEIGHT * cover.sizes / max(float(cover.sizes.sum()), 1.0)
    # One row left out costs more than all that is served.
    penalty = float(weights.sum()) + 1.0
    at = np.arange(pairs)
    of_row = csr_array((np.ones(pairs), (rows, at)), shape=(len(weights), pairs))
    of_column = csr_array((np.ones(pairs), (at, columns)), shape=(pairs, many))
    nothing = csr_array((len(weights), many))
    each_row = hstack([nothing, of_row, eye_array(len(weights))], format="csr")
    only_chosen = hstack(
        [of_column, -eye_array(pairs), csr_array((pairs, len(weights)))], format="csr"
    )
    chosen = np.concatenate([np.ones(many), np.zeros(pairs + len(weights))])
    return milp(
        np.concatenate([sizes, cover.costs[rows, columns], penalty * weights]),
        constraints=[
            LinearConstraint(each_row, lb=1, ub=1),
            LinearConstraint(only_chosen, lb=0),
            LinearConstraint(chosen[np.newaxis], ub=count),
        ],
        integrality=chosen,
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )


def _solution(found: object) -> Floats:
    x = getattr(found, "x", None)
    if x is None:
        raise RuntimeError(f"HiGHS did not solve the cover: {getattr(found, 'message', found)}")
    return np.asarray(x, dtype=np.float64)
