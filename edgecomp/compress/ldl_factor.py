"""What a change of one column asks of those after it: the factor of H that GPTQ and SparseGPT use.

With M upper triangular and M M^T = H (damped), column i's error asks M_j,i / M_i,i of column i for
each j before it, and weighs M_i,i^2: sweep.py has the equations. GPTQ's Cholesky factor of the
inverse, U with U^T U = H^-1, is M^-1; M serves as well and costs neither inversion nor the digits
an inversion loses.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edgecomp.common.errors import HessianSingular
from edgecomp.compress.packed_triangle import PackedTriangle

DAMPING = 0.01
LARGEST_DAMPING = 1.0


class LdlFactor(NamedTuple):
    """between: unit upper triangular, float32, M_j,i / M_i,i; importance: float32 [columns],
    M_i,i^2; order: int64 [columns], the weight's column that comes i-th, or None where they come as
    they stand."""

    coupling: PackedTriangle
    importance: Tensor
    order: Tensor | None = None


def ldl_factor(
    hessian: PackedTriangle, name: str, *, damping: float = DAMPING, by_activation: bool = False
) -> LdlFactor:
    """The feedback under H float32, in whose memory it is made: a wide layer's H is hundreds of
    megabytes. By activation, columns go by falling diagonal of H, which takes another H.

    Raises HessianSingular, naming the layer.
    """
    order = None
    if by_activation:
        order = hessian.diagonal().argsort(descending=True, stable=True)
        hessian = hessian.permuted(order)
    factor_upper(hessian, name, damping)
    diagonal = hessian.diagonal()
    hessian.divide_columns(diagonal)
    return LdlFactor(hessian, diagonal.square(), order)


def factor_upper(hessian: PackedTriangle, name: str, damping: float = DAMPING) -> None:
    """Put the upper triangular M with M M^T = H + damping in H's place.

    Damping is a share of the mean diagonal and is raised tenfold where H stays singular. A dead
    column (never driven) then has nothing but damping: what is done to it moves no other column.

    Raises HessianSingular, naming the layer, where even damping by the whole mean does not help.
    """
    mean = hessian.diagonal().mean()
    if not torch.isfinite(mean) or mean <= 0:
        raise HessianSingular(name, "its inputs are all zero, NaN or infinite")
    added = 0.0
    while damping <= LARGEST_DAMPING:
        hessian.add_to_diagonal((damping - added) * mean)
        added = damping
        if _factor(hessian):
            return
        damping *= 10
    raise HessianSingular(name, f"it stays singular with {LARGEST_DAMPING:.0%} damping")


def _factor(matrix: PackedTriangle) -> bool:
    """Cholesky from the last panel to the first; where it breaks down, False, and the matrix is
    multiplied out again, which costs no memory and happens seldom."""
    for index in reversed(range(len(matrix.panels))):
        if not _factor_panel(matrix, index):
            for done in range(index + 1, len(matrix.panels)):
                _multiply_out(matrix, done)
            return False
    return True


def _factor_panel(matrix: PackedTriangle, index: int) -> bool:
    """Factor the columns of a panel, those of all panels after it being factored; False, and no
    change, where they are not definite."""
    own, corner, above = matrix.panels[index], matrix.corner(index), _blocks_above(matrix, index)
    done = own[:, len(own) :]

    def add_products(sign: int) -> None:
        for block, panel in zip([*above, corner], matrix.panels, strict=False):
            block.addmm_(panel[:, panel.shape[1] - done.shape[1] :], done.T, alpha=sign)

    add_products(-1)
    # Turned around, a corner's lower factor is its upper one.
    turned, failed = torch.linalg.cholesky_ex(corner.flip(0, 1))
    if failed:
        add_products(1)
        return False
    corner.copy_(turned.flip(0, 1))
    for block in above:
        block.copy_(torch.linalg.solve_triangular(corner.T, block, upper=False, left=False))
    return True


def _multiply_out(factor: PackedTriangle, index: int) -> None:
    """Put M M^T in the place of the columns of a panel of M, those of all panels after it being
    M's still."""
    own = factor.panels[index]
    for block, panel in zip(_blocks_above(factor, index), factor.panels, strict=False):
        block.copy_(panel[:, panel.shape[1] - own.shape[1] :] @ own.T)
    factor.corner(index).copy_(own @ own.T)


def _blocks_above(matrix: PackedTriangle, index: int) -> list[Tensor]:
    """The columns of a panel's corner in the panels above it, views."""
    columns = matrix.parts[index]
    return [
        panel[:, columns.start - part.start : columns.stop - part.start]
        for part, panel in zip(matrix.parts[:index], matrix.panels, strict=False)
    ]
