"""Magnitude pruning: the smallest weights of each matrix go. The baseline of all pruning papers."""

from __future__ import annotations

from torch import Tensor

from edgecomp.compress.blocks import Block, Method
from edgecomp.compress.sparsity import check_columns, lowest
from edgecomp.recipes.sparsity import Sparsity


def magnitude(weight: Tensor, sparsity: Sparsity, name: str = "the matrix") -> Tensor:
    """weight float32 [rows, columns] without its smallest entries."""
    check_columns(sparsity, weight.shape[1], name)
    return weight.masked_fill(lowest(weight.abs(), sparsity, "matrix"), 0)


def magnitude_method(sparsity: Sparsity) -> Method:
    """The walker's method."""

    def method(block: Block) -> None:
        for name, linear in block.linears.items():
            linear.weight.copy_(magnitude(linear.weight, sparsity, block.weight_name(name)))

    return method
