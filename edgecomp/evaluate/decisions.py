"""Lost, kept or not decided: one answer a capability, with a promise over all of them together.

Of all evaluations at most 5 % call anything lost that is kept, and at most 5 % call anything kept
that is lost, however many capabilities are looked at (Holm, Scandinavian Journal of Statistics 6,
1979, in either direction), however often one looks and whenever one stops.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from edgecomp.evaluate.confidence_sequence import exceeds_p, stays_within_p

FAMILY_ERROR = 0.05
"""Share of evaluations that may make either mistake in any capability."""

CHANGED_SHARE = 0.05
"""Of the answers, by 4 bits of a model that bears them well."""

MARGINS = tuple(step / 200 for step in range(1, 200))
"""Every half a point."""

Decision = Literal["lost", "kept", "not decided"]
Name = TypeVar("Name", bound=Hashable)


class Drops(NamedTuple):
    """What is known of one capability: base - artifact of each question asked, in order, -1 to 1;
    how many questions there are (None: not known); the largest mean drop that is tolerated."""

    drops: tuple[float, ...]
    population: int | None
    tolerance: float


def decide(capabilities: Mapping[Name, Drops]) -> dict[Name, Decision]:
    """Whether more than is tolerated is lost, over each capability's whole set of questions."""
    lost = _rejected({name: exceeds_p(*row) for name, row in capabilities.items()})
    kept = _rejected({name: stays_within_p(*row) for name, row in capabilities.items()})
    return {
        name: "lost" if name in lost else "kept" if name in kept else "not decided"
        for name in capabilities
    }


def decides(questions: int, population: int, capabilities: int, margin: float) -> bool:
    """Whether `questions` of the `population` of each capability are expected to rule out a mean
    drop of `margin` (0 to 1), where nothing is lost and CHANGED_SHARE of the answers change, as
    many to the better as to the worse."""
    drops = np.zeros(questions)
    every = round(1 / CHANGED_SHARE)
    drops[every // 2 :: 2 * every], drops[every // 2 + every :: 2 * every] = 1.0, -1.0
    return stays_within_p(tuple(map(float, drops)), population, margin) <= (
        FAMILY_ERROR / capabilities
    )


def decidable_margin(questions: int, population: int, capabilities: int) -> float | None:
    """The smallest mean drop that they are expected to rule out; None where there is none."""
    found = bisect_left(
        MARGINS, 1, key=lambda margin: decides(questions, population, capabilities, margin)
    )
    return MARGINS[found] if found < len(MARGINS) else None


def _rejected(p_values: Mapping[Name, float]) -> set[Name]:
    """Holm's step-down: the smallest p-value against all of the error divided by their number, the
    next against one fewer, up to the first that is too large."""
    rejected: set[Name] = set()
    for name in sorted(p_values, key=lambda name: p_values[name]):
        if p_values[name] > FAMILY_ERROR / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return rejected
