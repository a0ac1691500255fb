"""SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): prune, and let later columns make up.

Columns are visited in order; sweep.py has the equations of the feedback. The mask is chosen for 128
columns at a time from the weights as they then are (the paper's "adaptive mask selection", B_s =
128), or for each M columns under N:M, by the error that pruning would cost: M_i,i^2 wanted_i^2, the
paper's w^2 / [H^-1]_ii. `paper_sparsegpt` in tests/compress/test_pruning.py is the paper's
algorithm as it stands there, slow and obvious.
"""

from __future__ import annotations

from torch import Tensor

from edgecomp.compress.blocks import Block, Method
from edgecomp.compress.in_order import hessians_in_order
from edgecomp.compress.ldl_factor import DAMPING, LdlFactor, ldl_factor
from edgecomp.compress.sparsity import check_columns, lowest
from edgecomp.compress.sweep import TILE, Sweep
from edgecomp.recipes.sparsity import Sparsity


def sparsegpt(
    weight: Tensor,
    factor: LdlFactor,
    sparsity: Sparsity,
    *,
    name: str = "the matrix",
) -> Tensor:
    """weight float32 [rows, columns] pruned, its columns as they stand.

    Raises CompressionSettingsInvalid, naming `name`.
    """
    columns = weight.shape[1]
    check_columns(sparsity, columns, name)
    sweep = Sweep(weight, factor)
    span = sparsity.of or TILE
    # One matrix product gathers the feedback for many small groups at once.
    opened = span * max(1, TILE // span)
    for first in range(0, columns, opened):
        sweep.open(slice(first, min(first + opened, columns)))
        for start in range(first, min(first + opened, columns), span):
            part = slice(start, min(start + span, columns))
            scores = sweep.free(part).square().T * sweep.importance[part]
            pruned = lowest(scores, sparsity, "matrix").T

            def choose(
                column: int,
                wanted: Tensor,
                value: Tensor,
                pruned: Tensor = pruned,
                start: int = start,
            ) -> None:
                value.copy_(wanted.masked_fill_(pruned[column - start], 0))

            sweep.run(part, choose)
    return sweep.values.T


def sparsegpt_method(sparsity: Sparsity, *, damping: float = DAMPING) -> Method:
    """The walker's method. Masks are chosen for each matrix apart, also where linears read one
    tensor."""

    def method(block: Block) -> None:
        for names, hessian in hessians_in_order(block):
            factor = ldl_factor(hessian, block.weight_name(names[0]), damping=damping)
            for name in names:
                weight, layer = block.linears[name].weight, block.weight_name(name)
                weight.copy_(sparsegpt(weight, factor, sparsity, name=layer))
                block.count_work(solved_weights=weight.numel())
            # Hundreds of megabytes for a wide layer, which the next one's need not join.
            del hessian, factor

    return method
