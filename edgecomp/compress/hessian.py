"""The second-order statistics of a layer's inputs.

For a linear with inputs x the layer's squared output error of a change D [rows, columns] of the
weights is tr(D H D^T) with H = mean x x^T (the papers' H = 2 X X^T up to a factor that cancels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


TokenWeights = Callable[[Block, str], Tensor]
"""What each token counts in a linear of a block, float32 [tokens]."""

Hessians = Iterator[tuple[tuple[str, ...], PackedTriangle]]
"""Linears that read one tensor, with the H that they share."""


class GroupSums:
    """H of linears of a block that read one tensor: one for all; or where tokens count differently
    in each, one for each."""

    def __init__(
        self, block: Block, group: tuple[str, ...], weights: TokenWeights | Tensor | None
    ) -> None:
        """weights: also float32 [tokens], the same for all."""
        self._sums: list[tuple[tuple[str, ...], HessianSum, Tensor | None]]
        if weights is None or isinstance(weights, Tensor):
            self._sums = [(group, HessianSum(block.tokens), weights)]
        else:
            self._sums = [
                ((name,), HessianSum(block.tokens), weights(block, name)) for name in group
            ]

    def add(self, inputs: Tensor, at: Tensor | slice) -> None:
        """inputs float32 [tokens, columns], which are the calibration's tokens `at`."""
        for _, total, counts in self._sums:
            total.add(inputs, None if counts is None else counts[at])

    def means(self) -> Hessians:
        """To be asked for once."""
        while self._sums:
            names, total, _ = self._sums.pop(0)
            yield names, total.mean()


def gather_hessians(
    block: Block, weights: TokenWeights | Tensor | None = None
) -> list[tuple[tuple[str, ...], PackedTriangle]]:
    """H float32 for each group of linears that read one tensor, of the block as it stands; tokens
    count by their weights where there are some (GroupSums)."""
    sums = {group[0]: GroupSums(block, group, weights) for group in block.shared_inputs()}

    def add(name: str, inputs: Tensor) -> None:
        sums[name].add(inputs, block.tokens_of(name, len(inputs)))

    block.observe({name: partial(add, name) for name in sums})
    return [part for total in sums.values() for part in total.means()]
