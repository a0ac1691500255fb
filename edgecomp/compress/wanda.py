"""Wanda (Sun et al. 2023, arXiv 2306.11695): prune by |W_ij| ||X_j||, each output on its own.

The paper's equation 1; scores are compared within a row, or within each M columns of it for N:M. No
weight is updated.
"""

from __future__ import annotations

from torch import Tensor

from edgecomp.compress.blocks import Block, Method
from edgecomp.compress.rtn import mean_squares
from edgecomp.compress.sparsity import check_columns, lowest
from edgecomp.recipes.sparsity import Sparsity


def wanda(
    weight: Tensor, mean_square: Tensor, sparsity: Sparsity, name: str = "the matrix"
) -> Tensor:
    """weight float32 [rows, columns] pruned; mean_square [columns]: mean of x_j^2."""
    check_columns(sparsity, weight.shape[1], name)
    scores = weight.abs() * mean_square.sqrt()
    return weight.masked_fill(lowest(scores, sparsity, "row"), 0)


def wanda_method(sparsity: Sparsity) -> Method:
    """The walker's method."""

    def method(block: Block) -> None:
        means = mean_squares(block)
        for name, linear in block.linears.items():
            pruned = wanda(linear.weight, means[name], sparsity, block.weight_name(name))
            linear.weight.copy_(pruned)

    return method
