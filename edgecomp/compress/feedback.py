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

from edgecomp.errors import HessianSingular

DAMPING = 0.01
LARGEST_DAMPING = 1.0
PANEL = 256


class Feedback(NamedTuple):
    """between: unit upper triangular, float32 [columns, columns], M_j,i / M_i,i; importance:
    float32 [columns], M_i,i^2; order: int64 [columns], the weight's column that comes i-th, or None
    where they come as they stand."""

    between: Tensor
    importance: Tensor
    order: Tensor | None = None


def feedback_of(
    hessian: Tensor, name: str, *, damping: float = DAMPING, by_activation: bool = False
) -> Feedback:
    """The feedback under H float32 [columns, columns], in whose memory it is made: a wide layer's H
    is hundreds of megabytes. By activation, columns go by falling diagonal of H.

    Raises HessianSingular, naming the layer.
    """
    order = None
    if by_activation:
        order = hessian.diagonal().argsort(descending=True, stable=True)
        for rows in (*torch.split(hessian, PANEL), *torch.split(hessian.mT, PANEL)):
            rows.copy_(rows[:, order])
    factor = upper_factor(hessian, name, damping)
    diagonal = factor.diagonal().clone()
    return Feedback(factor.div_(diagonal), diagonal.square(), order)


def upper_factor(hessian: Tensor, name: str, damping: float = DAMPING) -> Tensor:
    """The upper triangular M with M M^T = H + damping, in H's place: float32 [columns, columns].

    Damping is a share of the mean diagonal and is raised tenfold where H stays singular. A dead
    column (never driven) then has nothing but damping: what is done to it moves no other column.

    Raises HessianSingular, naming the layer, where even damping by the whole mean does not help.
    """
    mean = hessian.diagonal().mean()
    if not torch.isfinite(mean) or mean <= 0:
        raise HessianSingular(name, "its inputs are all zero, NaN or infinite")
    panels = _panels(hessian)
    corners = [hessian[part, part].clone() for part in panels]
    while damping <= LARGEST_DAMPING:
        hessian.diagonal().add_(damping * mean)
        if _factor_above_diagonal(hessian):
            return hessian.triu_()
        # What is under the diagonal is still H.
        for part, corner in zip(panels, corners, strict=True):
            hessian[part, part] = corner
            hessian[part, part.stop :] = hessian[part.stop :, part].T
        damping *= 10
    raise HessianSingular(name, f"it stays singular with {LARGEST_DAMPING:.0%} damping")


def _factor_above_diagonal(matrix: Tensor) -> bool:
    """Cholesky from the last column to the first, panel by panel; False where it breaks down. What
    is under the panels' corners on the diagonal is not touched."""
    for part in reversed(_panels(matrix)):
        above, done = slice(0, part.start), slice(part.stop, len(matrix))
        panel = matrix[: part.stop, part]
        panel.addmm_(matrix[: part.stop, done], matrix[part, done].T, alpha=-1)
        # Turned around, a corner's lower factor is its upper one.
        turned, failed = torch.linalg.cholesky_ex(matrix[part, part].flip(0, 1))
        if failed:
            return False
        corner = turned.flip(0, 1)
        matrix[part, part] = corner
        matrix[above, part] = torch.linalg.solve_triangular(
            corner.T, matrix[above, part], upper=False, left=False
        )
    return True


def _panels(matrix: Tensor) -> list[slice]:
    size = len(matrix)
    return [slice(first, min(first + PANEL, size)) for first in range(0, size, PANEL)]
