"""The second-order statistics of a layer's inputs.

For a linear with inputs x the layer's squared output error of a change D [rows, columns] of the
weights is tr(D H D^T) with H = mean x x^T (the papers' H = 2 X X^T up to a factor that cancels).
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from edgecomp.compress.blocks import Block
from edgecomp.compress.packed_triangle import PackedTriangle
from edgecomp.compress.routed import prior


class HessianSum:
    """H = mean x x^T of one layer's inputs, gathered batch by batch."""

    def __init__(self, tokens: int) -> None:
        """tokens: of the whole calibration, of which an expert reads some."""
        self._tokens, self._seen = tokens, 0
        self._sum: PackedTriangle | None = None

    def add(self, inputs: Tensor, weights: Tensor | None = None) -> None:
        """inputs float32 [tokens, columns]; each counts by its weight, float32 [tokens]."""
        if self._sum is None:
            self._sum = PackedTriangle(inputs.shape[1], inputs)
        weighted = inputs if weights is None else inputs * weights[:, None]
        self._sum.add_products(weighted, inputs, 1 / self._tokens)
        self._seen += len(inputs)

    def mean(self) -> PackedTriangle:
        """float32, to be asked for once: it is not kept here. An expert's has the prior of
        routed.py."""
        assert self._sum is not None
        whole, self._sum = self._sum, None
        whole.add_to_diagonal(prior(whole.diagonal(), self._seen, self._tokens))
        return whole


def gather_hessians(
    block: Block, weights: Tensor | None = None
) -> list[tuple[tuple[str, ...], PackedTriangle]]:
    """H float32 for each group of linears that read one tensor, of the block as it stands; tokens
    count by their weight, float32 [tokens], where there are some."""
    groups = block.shared_inputs()
    sums = {group[0]: HessianSum(block.tokens) for group in groups}

    def add(name: str, inputs: Tensor) -> None:
        own = None if weights is None else weights[block.tokens_of(name, len(inputs))]
        sums[name].add(inputs, own)

    block.observe({name: partial(add, name) for name in sums})
    return [(group, sums[group[0]].mean()) for group in groups]
