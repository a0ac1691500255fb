"""How much of each capability may be lost, in points of its score."""

from __future__ import annotations

from pydantic import Field, ValidationError

from edgecomp.common.errors import TolerancesInvalid
from edgecomp.common.frozen_model import FrozenModel

TOLERANCE_POINTS = 5.0
"""Quantization's promise is a loss below 5 % (R18)."""

SAFETY_TOLERANCE_POINTS = 3.0


class Tolerances(FrozenModel):
    """The largest drop of each bucket that is called kept, in points."""

    knowledge: float = Field(default=TOLERANCE_POINTS, gt=0, le=100)
    reasoning: float = Field(default=TOLERANCE_POINTS, gt=0, le=100)
    multilingual: float = Field(default=TOLERANCE_POINTS, gt=0, le=100)
    instruction: float = Field(default=TOLERANCE_POINTS, gt=0, le=100)
    code: float = Field(default=TOLERANCE_POINTS, gt=0, le=100)
    safety: float = Field(default=SAFETY_TOLERANCE_POINTS, gt=0, le=100)

    def points(self, bucket: str) -> float:
        """The tolerance of one bucket."""
        points: float = getattr(self, bucket)
        return points


def parse_tolerances(text: str) -> Tolerances:
    """Tolerances as they are typed: `reasoning=2,safety=1`. Raises TolerancesInvalid."""
    named = dict(part.partition("=")[::2] for part in text.split(",") if part.strip())
    try:
        return Tolerances.model_validate({name.strip(): value for name, value in named.items()})
    except ValidationError as error:
        known = ", ".join(Tolerances.model_fields)
        raise TolerancesInvalid(
            f"{text!r} tells no tolerances. Name capabilities with the points that each may lose, "
            f"above 0 and at most 100, as reasoning=2,safety=1. There are: {known}."
        ) from error
