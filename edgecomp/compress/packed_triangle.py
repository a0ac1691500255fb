"""A square matrix of which the upper triangle says everything, in half the memory.

H of a wide layer is hundreds of megabytes as it stands, and symmetric; its factor is triangular.
Both are kept as panels: PANEL rows each, from their block on the diagonal to the right.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

PANEL = 256


class PackedTriangle:
    """Panel i has the rows parts[i]: [rows, size - parts[i].start]. Blocks on the diagonal are
    whole, so that of a symmetric matrix each is symmetric."""

    def __init__(self, size: int, like: Tensor) -> None:
        """Zeros, of the type and on the device of `like`."""
        self.size = size
        starts = range(0, size, PANEL)
        self.parts = [slice(first, min(first + PANEL, size)) for first in starts]
        shapes = [(part.stop - part.start, size - part.start) for part in self.parts]
        self._flat = like.new_zeros(sum(rows * columns for rows, columns in shapes))
        pieces = torch.split(self._flat, [rows * columns for rows, columns in shapes])
        self.panels: list[Tensor] = [
            piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)
        ]

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        return zip(self.parts, self.panels, strict=True)

    def corner(self, index: int) -> Tensor:
        """The block of a panel that lies on the diagonal, a view."""
        panel: Tensor = self.panels[index]
        return panel[:, : len(panel)]

    def diagonal(self) -> Tensor:
        """A copy, [size]."""
        return torch.cat([panel.diagonal() for panel in self.panels])

    def add_to_diagonal(self, amount: float | Tensor) -> None:
        for panel in self.panels:
            panel.diagonal().add_(amount)

    def add_products(self, left: Tensor, right: Tensor, share: float) -> None:
        """Add share left^T right, for left and right [tokens, size] whose product is symmetric."""
        for part, panel in self:
            panel.addmm_(left[:, part].T, right[:, part.start :], alpha=share)

    def plus(self, other: PackedTriangle) -> PackedTriangle:
        total = PackedTriangle(self.size, self._flat)
        torch.add(self._flat, other._flat, out=total._flat)
        return total

    def divide_rows(self, by: Tensor) -> None:
        """by [size]."""
        for part, panel in self:
            panel.div_(by[part, None])

    def divide_columns(self, by: Tensor) -> None:
        """by [size]."""
        for part, panel in self:
            panel.div_(by[part.start :])

    def permuted(self, order: Tensor) -> PackedTriangle:
        """The symmetric matrix with row and column order[i] in the place i; order int64 [size]."""
        moved = PackedTriangle(self.size, self._flat)
        # Where column 0 of each row would be in the flat memory.
        begins = torch.cat(
            [
                torch.arange(len(panel), device=order.device) * panel.stride(0)
                + (panel.storage_offset() - part.start)
                for part, panel in self
            ]
        )
        for part, panel in moved:
            here, there = order[part, None], order[None, part.start :]
            upper, right = torch.minimum(here, there), torch.maximum(here, there)
            torch.take(self._flat, begins[upper] + right, out=panel)
        return moved

    def quadratic(self, change: Tensor) -> float:
        """tr(D H D^T) of change D [rows, size] under the symmetric matrix H."""
        total = 0.0
        for index, (part, panel) in enumerate(self):
            own, after = change[:, part], change[:, part.stop :]
            total += float((own @ self.corner(index) * own).sum())
            total += 2 * float((own @ panel[:, len(panel) :] * after).sum())
        return total

    def block_of(self, columns: slice) -> Tensor:
        """The block of these columns and their rows, [width, width]; under the diagonal it means
        nothing."""
        width = columns.stop - columns.start
        block: Tensor = self._flat.new_zeros(width, width)
        for part, panel, rows in self._within(columns):
            at = part.start + rows.start - columns.start
            right = panel[rows, rows.start : columns.stop - part.start]
            block[at : at + len(right), at:] = right
        return block

    def gather(self, base: Tensor, rows: slice, columns: slice, values: Tensor) -> Tensor:
        """base + T^T values[rows], for the block T of rows that all lie above the columns:
        base [width, n], values [size, n]."""
        gathered = base.clone()
        for part, panel, own in self._within(rows):
            block = panel[own, columns.start - part.start : columns.stop - part.start]
            gathered.addmm_(block.T, values[part.start + own.start : part.start + own.stop])
        return gathered

    def solve_unit(self, columns: slice, right_side: Tensor) -> Tensor:
        """x [width, n] with T^T x = asked, for the block T of these columns and their rows, its
        diagonal taken to be 1."""
        solved = right_side.clone()
        for part, panel, rows in self._within(columns):
            first = part.start + rows.start - columns.start
            last = first + rows.stop - rows.start
            own, after = solved[first:last], solved[last:]
            corner = panel[rows, rows]
            own.copy_(torch.linalg.solve_triangular(corner.T, own, upper=False, unitriangular=True))
            after.addmm_(panel[rows, rows.stop : columns.stop - part.start].T, own, alpha=-1)
        return solved

    def _within(self, rows: slice) -> Iterator[tuple[slice, Tensor, slice]]:
        """The panels that hold any of the rows, with which of their own rows these are."""
        for index in range(rows.start // PANEL, -(-rows.stop // PANEL)):
            part = self.parts[index]
            first, last = max(part.start, rows.start), min(part.stop, rows.stop)
            yield part, self.panels[index], slice(first - part.start, last - part.start)
