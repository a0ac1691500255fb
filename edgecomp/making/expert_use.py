"""How often a calibration asked each expert of a mixture.

A method knows an expert by the tokens that were routed to it. One that few reached is rounded as if
all its inputs counted alike, which is worth saying: more text, or other text, may reach it.
"""

from __future__ import annotations

from pathlib import Path

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.compress.routed import PRIOR_TOKENS


class ExpertUse(FrozenModel):
    """The experts of all layers; those that saw fewer than `seldom_tokens`; those that saw none."""

    experts: int
    seldom: int
    unseen: int
    seldom_tokens: int = PRIOR_TOKENS

    @property
    def sentence(self) -> str:
        """What the calibration did not show."""
        return (
            f"{self.seldom} of {self.experts} experts saw fewer than {self.seldom_tokens} of the "
            f"calibration's tokens ({self.unseen} saw none) and are rounded almost without it"
        )


def expert_use(importance: Path) -> ExpertUse | None:
    """The use of the experts, from an importance matrix; None for a model without experts.

    Raises ModelNotFound, FileCorrupt.
    """
    # The findings know this module, and must not load gguf to be shown.
    from edgecomp.models.gguf.importance_file import read_sums

    tokens = [
        count
        for name, sums in read_sums(importance).items()
        if ".ffn_down_exps." in name
        for count in sums.tokens.tolist()
    ]
    if not tokens:
        return None
    return ExpertUse(
        experts=len(tokens),
        seldom=sum(count < PRIOR_TOKENS for count in tokens),
        unseen=tokens.count(0),
    )
