"""Linears and embeddings whose codes are fixed and whose float16 scales are trained.

y = x W^T with W = sum_k s_k u_k, block by block (gguf_scales.py). The gradient of a scale is the
sum over its block of u_k dL/dW. W is made anew in each pass and never kept: what stays in memory
are the units, as the smallest integers that hold them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from edgecomp.compress.gguf_scales import (
    block_scales,
    block_units,
    scale_gradient,
    scaled,
    with_scales,
)

PARTS = (1.0, 8.0)
"""Units are whole, or eighths (IQ2's)."""


class CompactUnit(NamedTuple):
    """A unit [rows, blocks, block's elements] as `whole` numbers of 1 / parts."""

    whole: Tensor
    parts: float

    def exact(self) -> Tensor:
        """The unit, float32."""
        return self.whole.float() / self.parts if self.parts != 1 else self.whole.float()


def compact(unit: Tensor) -> CompactUnit:
    """The unit as the smallest integers that hold it; as it is where none do."""
    for kind in (torch.int8, torch.int16):
        most = torch.iinfo(kind).max
        for parts in PARTS:
            larger = unit * parts
            if larger.abs().max() <= most and torch.equal(larger, larger.round()):
                return CompactUnit(larger.to(kind), parts)
    return CompactUnit(unit, 1.0)


class ScaledMatrix(nn.Module):
    """A matrix in a GGUF type, whose scales are trained as shares of what they were."""

    start: Tensor

    def __init__(self, kind: str, rows: Tensor) -> None:
        """rows: uint8 [rows, row bytes]."""
        super().__init__()
        self.kind, self.rows = kind, rows
        self.units = [compact(unit) for unit in block_units(kind, rows)]
        self.register_buffer("start", block_scales(kind, rows))
        self.change = nn.Parameter(torch.zeros_like(self.start))

    def to_device(self, device: str) -> None:
        """Move the units, which are no buffers, to the device."""
        self.units = [CompactUnit(unit.whole.to(device), unit.parts) for unit in self.units]

    def scales(self) -> Tensor:
        """The scales as float16 holds them, float32 [rows, blocks, scales of a block]; gradients
        pass the rounding as if it were not there."""
        return _as_half(self.start * (1 + self.change))

    def values(self) -> Tensor:
        """The matrix, float32 [rows, columns]."""
        return scaled([unit.exact() for unit in self.units], self.scales())

    def values_of(self, ids: Tensor) -> Tensor:
        """The rows `ids` int64 [n], float32 [n, columns]."""
        shape = (len(ids), *self.start.shape[1:])
        start, change = (
            nn.functional.embedding(ids, table.flatten(1)).view(shape)
            for table in (self.start, self.change)
        )
        units = [CompactUnit(unit.whole[ids], unit.parts).exact() for unit in self.units]
        return scaled(units, _as_half(start * (1 + change)))

    def packed(self) -> Tensor:
        """The bytes with the scales as they now are, uint8 [rows, row bytes]."""
        return with_scales(self.kind, self.rows, self.scales().detach().cpu())


def _as_half(exact: Tensor) -> Tensor:
    return exact + (exact.detach().half().float() - exact.detach())


class _Product(torch.autograd.Function):
    """x W^T for the units of a matrix under `scales`; gradients are computed in the type `to`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Tensor, units: list[CompactUnit], to: Any) -> Tensor:
        ctx.save_for_backward(x, scales)
        ctx.units, ctx.to = units, to
        return x @ scaled([unit.exact() for unit in units], scales).T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, scales = ctx.saved_tensors
        units = [unit.exact() for unit in ctx.units]
        gradient, inputs = gradients[0].flatten(0, -2), x.flatten(0, -2)
        weight = scaled(units, scales)
        gradient, inputs, weight = (t.to(ctx.to) for t in (gradient, inputs, weight))
        to_x = to_scales = None
        if ctx.needs_input_grad[0]:
            to_x = (gradient @ weight).float().view_as(x)
        if ctx.needs_input_grad[1]:
            to_scales = scale_gradient(units, (gradient.T @ inputs).float())
        return to_x, to_scales, None, None


class ScaledLinear(nn.Module):
    """What stands in for an nn.Linear."""

    def __init__(
        self, matrix: ScaledMatrix, bias: nn.Parameter | None, gradients: torch.dtype
    ) -> None:
        """gradients: the type in which they are computed."""
        super().__init__()
        self.matrix, self.bias, self.gradients = matrix, bias, gradients

    @property
    def weight(self) -> Tensor:
        """Some models ask their linears for a type or a device."""
        return self.matrix.change

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(  # type: ignore[no-untyped-call]
            x, self.matrix.scales(), self.matrix.units, self.gradients
        )
        return product if self.bias is None else product + self.bias


class ScaledEmbedding(nn.Module):
    """What stands in for an embedding that is its model's head as well; its rows times `factor`."""

    def __init__(self, matrix: ScaledMatrix, factor: Tensor | float = 1.0) -> None:
        super().__init__()
        self.matrix, self.factor = matrix, factor

    @property
    def weight(self) -> Tensor:
        return self.matrix.change

    def forward(self, ids: Tensor) -> Tensor:
        return self.matrix.values_of(ids.flatten()).view(*ids.shape, -1) * self.factor
