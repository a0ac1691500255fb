"""The second-order statistics of a layer's inputs, and the factor that GPTQ and SparseGPT use.

For a linear with inputs x the layer's squared output error of a change D [rows, columns] of the
weights is tr(D H D^T) with H = mean x x^T (the papers' H = 2 X X^T up to a factor that cancels).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from edgecomp.compress.blocks import Block
from edgecomp.compress.routed import prior
from edgecomp.errors import HessianSingular

DAMPING = 0.01
LARGEST_DAMPING = 1.0
NARROWEST_STRIP = 128
ROWS_MOVED = 256


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
        """float32 [columns, columns], to be asked for once; an expert's has the prior of
        routed.py."""
        for part in _strips(self._sum):
            self._sum[part.stop :, part] = self._sum[part, part.stop :].T
        diagonal = self._sum.diagonal()
        diagonal.add_(prior(diagonal, self._seen, self._tokens))
        return self._sum


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


def upper_factor(
    hessian: Tensor, name: str, damping: float = DAMPING, order: Tensor | None = None
) -> Tensor:
    """The upper triangular M with M M^T = H + damping: float32 [columns, columns]; of H with its
    rows and columns in `order`, int64 [columns], where one is given.

    GPTQ's Cholesky factor of the inverse, U with U^T U = H^-1, is M^-1; M serves as well and costs
    neither inversion nor the digits an inversion loses (see sweep.py). Damping is a share of the
    mean diagonal and is raised tenfold where H stays singular. A dead column (never driven) then
    has nothing but damping: what is done to it moves no other column.

    Raises HessianSingular, naming the layer, where even damping by the whole mean does not help.
    """
    mean = hessian.diagonal().mean()
    if not torch.isfinite(mean) or mean <= 0:
        raise HessianSingular(name, "its inputs are all zero, NaN or infinite")
    # Only one copy beside H, changed in place: for a wide layer each is hundreds of megabytes.
    work, failed = torch.empty_like(hessian), hessian.new_zeros((), dtype=torch.int32)
    while damping <= LARGEST_DAMPING:
        if order is None:
            work.copy_(hessian)
        else:
            for rows, numbers in zip(
                torch.split(work, ROWS_MOVED), torch.split(order, ROWS_MOVED), strict=True
            ):
                rows.copy_(hessian[numbers[:, None], order])
        work.diagonal().add_(damping * mean)
        # The factor that is upper triangular is found by running Cholesky from the last column.
        _turn_around(work)
        # Column by column, as LAPACK has it: otherwise torch works on one more copy.
        torch.linalg.cholesky_ex(work.mT, out=(work.mT, failed))
        if not failed:
            return _turn_around(work).mT
        damping *= 10
    raise HessianSingular(name, f"it stays singular with {LARGEST_DAMPING:.0%} damping")


def _turn_around(matrix: Tensor) -> Tensor:
    """Reverse the order of rows and of columns, in place, some rows at a time."""
    size = len(matrix)
    for first in range(0, size // 2, ROWS_MOVED):
        head = slice(first, min(first + ROWS_MOVED, size // 2))
        tail = slice(size - head.stop, size - head.start)
        kept = matrix[head].flip(0, 1)
        matrix[head] = matrix[tail].flip(0, 1)
        matrix[tail] = kept
    if size % 2:
        matrix[size // 2] = matrix[size // 2].flip(0)
    return matrix
