"""The grid that a quantized checkpoint's weights lie on."""

from __future__ import annotations

from edgecomp.common.frozen_model import FrozenModel


class IntegerGrid(FrozenModel):
    """Integer codes of `bits` with a float16 step for each `group` of neighbouring columns."""

    bits: int
    group: int
    symmetric: bool
    """The zero point is the middle of the codes; else it is any of them."""
