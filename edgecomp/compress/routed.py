"""Statistics of inputs that only some of the calibration's tokens reach: those of an expert.

An expert's squared error is a mean over all tokens, like any linear's, so that one who is seldom
asked weighs little. A few tokens say little about its inputs, none nothing: it counts as if it had
seen PRIOR_TOKENS more, which drive all columns alike. So an expert that no token reached is rounded
to nearest and pruned by magnitude, and one that thousands reached goes by what they said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PRIOR_TOKENS = 32


def prior(mean_square: Tensor, seen: int, tokens: int) -> float:
    """What the prior adds to mean_square [columns]: x_j^2 summed over the `seen` tokens that came
    here and divided by all `tokens`. Nothing where all came."""
    if seen == tokens:
        return 0.0
    energy = float(mean_square.mean()) * tokens / max(seen, 1)
    return PRIOR_TOKENS / tokens * (energy or 1.0)
