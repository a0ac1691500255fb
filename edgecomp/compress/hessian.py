"""The second-order statistics of a layer's inputs.

For a linear with inputs x the layer's squared output error of a change D [rows, columns] of the
weights is tr(D H D^T) with H = mean x x^T (the papers' H = 2 X X^T up to a factor that cancels).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from edgecomp.compress.blocks import Block
from edgecomp.compress.routed import prior

NARROWEST_STRIP = 128


class HessianSum:
    """H = mean x x^T of one layer's inputs, gathered batch by batch."""

    def __init__(self, tokens: int) -> None:
        """tokens: of the whole calibration, of which an expert reads some."""
        self._tokens, self._seen = tokens, 0
        self._sum = torch.empty(0)

    def add(self, inputs: Tensor, weights: Tensor | None = None) -> None:
        """inputs float32 [tokens, columns]; each counts by its weight, float32 [tokens]."""
        if not self._sum.numel():
            self._sum = inputs.new_zeros(inputs.shape[1], inputs.shape[1])
        weighted = inputs if weights is None else inputs * weights[:, None]
        for part in _strips(self._sum):
            self._sum[part, part.start :].addmm_(
                weighted[:, part].T, inputs[:, part.start :], alpha=1 / self._tokens
            )
        self._seen += len(inputs)

    def mean(self) -> Tensor:
        """float32 [columns, columns], to be asked for once: it is not kept here. An expert's has
        the prior of routed.py."""
        whole, self._sum = self._sum, torch.empty(0)
        for part in _strips(whole):
            whole[part.stop :, part] = whole[part, part.stop :].T
        diagonal = whole.diagonal()
        diagonal.add_(prior(diagonal, self._seen, self._tokens))
        return whole


def gather_hessians(
    block: Block, weights: Tensor | None = None
) -> list[tuple[tuple[str, ...], Tensor]]:
    """H float32 [columns, columns] for each group of linears that read one tensor, of the block as
    it stands; tokens count by their weight, float32 [tokens], where there are some."""
    groups = block.shared_inputs()
    sums = {group[0]: HessianSum(block.tokens) for group in groups}

    def add(name: str, inputs: Tensor) -> None:
        own = None if weights is None else weights[block.tokens_of(name, len(inputs))]
        sums[name].add(inputs, own)

    block.observe({name: partial(add, name) for name in sums})
    return [(group, sums[group[0]].mean()) for group in groups]


def _strips(matrix: Tensor) -> list[slice]:
    """Rows of a symmetric matrix that are gathered together, from the diagonal block to the right:
    four strips save three eighths of the work."""
    step = max(NARROWEST_STRIP, -(-len(matrix) // 4))
    return [slice(first, min(first + step, len(matrix))) for first in range(0, len(matrix), step)]
