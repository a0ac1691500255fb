"""How much is set to zero: a share of the weights, or so many kept of each so many neighbours."""

from __future__ import annotations

import re

from pydantic import Field

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.common.frozen_model import FrozenModel


class Sparsity(FrozenModel):
    """A share of the weights set to zero; with `kept` and `of`, so many kept of each so many
    neighbouring columns (2:4)."""

    ratio: float = Field(gt=0, lt=1)
    kept: int | None = None
    of: int | None = None

    def __str__(self) -> str:
        return f"{self.kept}:{self.of}" if self.of else f"{100 * self.ratio:.6g}%"


def denser(sparsity: Sparsity, percent: float) -> Sparsity | None:
    """The sparsity with `percent` points less set to zero, or None where that is nothing. Of a
    pattern one weight more is kept of each so many, as finely as it can be changed."""
    if sparsity.kept and sparsity.of:
        kept = sparsity.kept + 1
        if kept >= sparsity.of:
            return None
        return Sparsity(ratio=1 - kept / sparsity.of, kept=kept, of=sparsity.of)
    ratio = round(sparsity.ratio - percent / 100, 9)
    return Sparsity(ratio=ratio) if ratio > 0 else None


def parse_sparsity(text: str) -> Sparsity:
    """Read `0.5`, `50%` or `2:4`. Raises CompressionSettingsInvalid."""
    pattern = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if pattern:
        kept, of = int(pattern[1]), int(pattern[2])
        if 0 < kept < of:
            return Sparsity(ratio=1 - kept / of, kept=kept, of=of)
    share = re.fullmatch(r"(\d*\.?\d+)(%?)", text.strip())
    if share:
        ratio = float(share[1]) / (100 if share[2] else 1)
        if 0 < ratio < 1:
            return Sparsity(ratio=ratio)
    raise CompressionSettingsInvalid(
        f"The sparsity {text!r} is none. Write a share between 0 and 1 (0.5 or 50%), or how many "
        "weights of how many are kept (2:4, 4:8)."
    )
