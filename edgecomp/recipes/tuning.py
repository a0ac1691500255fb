"""What a tuning after rounding is told, by effort, and what it says when it is done.

The tuning itself is `edgecomp.compress.tuning`; nothing here needs torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import Effort
from edgecomp.recipes.distillation import DivergenceAt


class TuningSettings(FrozenModel):
    """How scales and norms are fitted once codes are chosen."""

    passes: int = Field(default=1, gt=0)
    """Over the rows that are trained on."""

    batch_rows: int = Field(default=1, gt=0)
    scale_rate: float = Field(default=2e-4, ge=0)
    """Largest step of a block's scale, as a share of it (Adam's learning rate); 0: they stay."""

    norm_rate: float = Field(default=5e-4, ge=0)
    """The same of norms and biases, as a share of their root mean square."""

    rated_nats: float = Field(default=0.1, gt=0)
    """Held-out divergence from which on the rates are these. Below it they fall with its square
    root: what a step gains falls with the gradient, what its size harms does not."""

    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    held_out_share: float = Field(default=0.125, gt=0, lt=1)
    top_k: int = Field(default=128, gt=0)
    """Tokens of the float model's predictions that are kept of each position."""

    seed: int = 0


class Tuned(FrozenModel):
    """What became of the held-out divergence."""

    schema_version: Literal[1] = 1
    points: tuple[DivergenceAt, ...]
    """The first is the rounded model's, before any step."""

    @property
    def best(self) -> DivergenceAt:
        """The least divergence seen; what the checkpoint holds, where it is not the first."""
        return min(self.points, key=lambda point: point.divergence)

    @property
    def improved(self) -> bool:
        """Whether a tuning is kept."""
        return self.best.divergence < self.points[0].divergence

    @property
    def sentence(self) -> str:
        """What came of it, for people."""
        before = self.points[0].divergence
        if self.improved:
            return (
                "Tuning after rounding brought the divergence on held-out calibration rows from "
                f"{before:.4f} to {self.best.divergence:.4f} nats a token."
            )
        after = min(point.divergence for point in self.points[1:])
        return (
            "Tuning after rounding was thrown away: on held-out calibration rows the divergence "
            f"went from {before:.4f} to {after:.4f} nats a token."
        )


TUNINGS: dict[Effort, TuningSettings | None] = {
    "quick": None,
    "default": None,
    "best": TuningSettings(),
}
"""What each effort tunes; None: nothing."""
