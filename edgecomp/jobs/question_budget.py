"""What the time for questions can decide, before it is spent."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache
from typing import NamedTuple

from edgecomp.common.quantity import format_duration
from edgecomp.evaluate.comparison import SMALLEST_SET
from edgecomp.evaluate.decisions import decidable_margin, decides
from edgecomp.judging.verdict import REQUIRED
from edgecomp.recipes.tolerances import TOLERANCE_POINTS


class Decidable(NamedTuple):
    """What so much time is expected to decide, and whether that is what is promised."""

    sentence: str
    enough: bool


def decidable(question_seconds: float, budget_seconds: float) -> Decidable:
    """What `budget_seconds` decide where a question takes base and artifact `question_seconds`."""
    each = min(round(budget_seconds / question_seconds / len(REQUIRED)), SMALLEST_SET)
    margin = decidable_margin(each, SMALLEST_SET, len(REQUIRED))
    time, promised = format_duration(budget_seconds), f"{TOLERANCE_POINTS:.0f} points"
    if margin is not None and 100 * margin <= TOLERANCE_POINTS:
        return Decidable(f"{time} of questions decide losses of {promised}.", enough=True)
    decides = "nothing" if margin is None else f"losses of {100 * margin:.0f} points only"
    minutes = math.ceil(question_seconds * len(REQUIRED) * questions_that_decide() / 60)
    return Decidable(
        f"{time} of questions decide {decides} here; --budget {minutes}min decides {promised}.",
        enough=False,
    )


@cache
def questions_that_decide() -> int:
    """The fewest questions of each required capability that decide the usual tolerance."""
    margin = TOLERANCE_POINTS / 100
    counts = range(1, SMALLEST_SET + 1)
    return counts[
        bisect_left(
            counts, 1, key=lambda count: decides(count, SMALLEST_SET, len(REQUIRED), margin)
        )
    ]
