"""Second-order error feedback: change a matrix column by column, later columns making up for it.

The step that GPTQ (arXiv 2210.17323, equations 2 and 3) and SparseGPT (arXiv 2301.00774) share. The
papers subtract (w_i - v_i) U_i,j / U_i,i from every later column j once column i has got its value
v_i, with U the upper Cholesky factor of H^-1. Here the same numbers are gathered from the left when
a column's turn comes (Chee et al. 2023, QuIP, arXiv 2307.13304, theorem 6: the two are one
algorithm): with M = U^-1, upper triangular and M M^T = H, column i's value is chosen for

    wanted_i = w_i + sum_{j<i} (w_j - v_j) M_j,i / M_i,i

and the layer's error is exactly sum_i M_i,i^2 (wanted_i - v_i)^2. So no inverse is needed, updates
are matrix products, and M_i,i^2 is the true weight of what is done to column i.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgecomp.compress.ldl_factor import LdlFactor

TILE = 128
STRETCH = 64
"""Columns between two gatherings by matrix product: in between each gathers from those before it in
the stretch, which should be few."""


class Sweep:
    """One matrix on its way. Tensors are transposed, [columns, rows]: a column is contiguous."""

    def __init__(self, weight: Tensor, factor: LdlFactor) -> None:
        """weight [rows, columns], which come in the feedback's order."""
        if factor.order is not None:
            weight = weight[:, factor.order]
        self._left = weight.T.contiguous()
        """What is left to feed on: of columns to come their weights, of columns done their errors.
        """
        self.values = torch.empty_like(self._left)
        self.importance, self._coupling = factor.importance, factor.coupling
        self._start = 0
        self._base = self._left

    def open(self, columns: slice) -> None:
        """Gather, in one matrix product, what all columns before these feed back to them."""
        done = slice(0, columns.start)
        self._start = columns.start
        self._base = self._coupling.gather(self._left[columns], done, columns, self._left)

    def wanted(self, columns: slice) -> Tensor:
        """What opened columns should be so far, [width, rows]; the first is next in turn."""
        near = slice(self._start, columns.start)
        base = self._base[columns.start - self._start : columns.stop - self._start]
        if columns.start == self._start:
            return base
        return self._coupling.gather(base, near, columns, self._left)

    def free(self, columns: slice) -> Tensor:
        """What opened columns, the first of them next in turn, would best be if none of them were
        constrained, [width, rows]: the papers' weights after all updates so far.

        Unlike in `wanted`, columns among them answer to one another: with F what the columns before
        feed back, the answers add up to F N^-1 for N = M_j,i / M_i,i among these columns.
        """
        fed_back = self.wanted(columns) - self._left[columns]
        return self._left[columns] + self._coupling.solve_unit(columns, fed_back)

    def run(self, columns: slice, choose: Callable[[int, Tensor, Tensor], None]) -> None:
        """Give each of the columns, in order, a value: `choose(column, wanted, value)` puts it into
        `value` [rows] and may overwrite `wanted` [rows]."""
        for start in range(columns.start, columns.stop, STRETCH):
            part = slice(start, min(start + STRETCH, columns.stop))
            wanted, left = self.wanted(part), self._left[part]
            factor = self._coupling.block_of(part).T.contiguous()
            rows = (wanted.unbind(), left.unbind(), self.values[part].unbind())
            for i, (base, own, value) in enumerate(zip(*rows, strict=True)):
                moved = torch.addmv(base, left[:i].T, factor[i, :i])
                choose(start + i, moved, value)
                own.sub_(value)

    def run_vectors(
        self, columns: slice, width: int, choose: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        """Give the columns, `width` at a time, values that are chosen together:
        `choose(free, form)` returns values [rows, width] v for what the columns would best be,
        t [rows, width]. The error is exactly (t - v)^T form (t - v), form [width, width]."""
        for start in range(columns.start, columns.stop, width):
            part = slice(start, start + width)
            factor = self._coupling.block_of(part).triu(1)
            factor.diagonal().fill_(1)
            form = (factor * self.importance[part]) @ factor.T
            self.values[part] = choose(self.free(part).T.contiguous(), form).T
            self._left[part] -= self.values[part]
