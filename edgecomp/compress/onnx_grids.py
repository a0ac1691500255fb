"""Integers with one scale a block as grids: for ONNX Runtime's MatMulNBits and GatherBlockQuantized
(4 and 8 bits), and for GPTQ's and compressed-tensors' checkpoints (4 and 8 bits, symmetric).

A weight is `scale * (code - 8)` for codes 0..15 (operators of com.microsoft, without zero points),
`scale * (code - zero)` with a whole zero point 0..15 a block (UINT4), or `scale * (code - 128)` at
8 bits; a byte of 4-bit codes holds column 2j in its low and 2j + 1 in its high half. The step
here is a float16 value, so that the same codes serve providers whose scales are float16. Products
of such a step and a small integer are exact in float32: what the operator computes with is what the
solver chose, bit for bit.

packed.py keeps a block as its scale (float32, 4 bytes), its zero point where it has one (a byte),
and then its codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.compress.grids import Codes, Grid, Scales, half, integer_grid, search_step

SCALE_BYTES = 4


def _grid(bits: int, block: int) -> Grid:
    codes = Codes(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def fit(x: Tensor, w: Tensor) -> Scales:
        step = half(search_step(x, w, codes))[:, None]
        return Scales(step, torch.zeros_like(step))

    def pack(chosen: Tensor, scales: Scales) -> Tensor:
        stored = (chosen - codes.low).to(torch.uint8)
        if bits == 4:
            stored = _halves(stored)
        return torch.cat([_scale_bytes(scales), stored], dim=1)

    return Grid(f"INT{bits}_{block}", codes, block, block, fit, pack=pack)


def _zero_point_grid(block: int) -> Grid:
    """4 bits with a whole zero point a block."""
    plain = integer_grid(4, block, symmetric=False)

    def pack(chosen: Tensor, scales: Scales) -> Tensor:
        zero = scales.stored[0].to(torch.uint8)
        stored = _halves(chosen.to(torch.uint8))
        return torch.cat([_scale_bytes(scales), zero.view(len(zero), 1), stored], dim=1)

    return Grid(f"UINT4_{block}", plain.codes, block, block, plain.fit, pack=pack)


def _halves(codes: Tensor) -> Tensor:
    return codes[:, 0::2] | codes[:, 1::2] << 4


def _scale_bytes(scales: Scales) -> Tensor:
    return scales.step[:, 0].contiguous().view(torch.uint8).view(-1, SCALE_BYTES)


BLOCKS = (16, 32, 64, 128, 256)
INT4_GRIDS = {grid.name: grid for grid in (_grid(4, block) for block in BLOCKS)}
UINT4_GRIDS = {grid.name: grid for grid in (_zero_point_grid(block) for block in BLOCKS)}
INT8_GRIDS = {grid.name: grid for grid in (_grid(8, block) for block in BLOCKS)}
ONNX_GRIDS = INT4_GRIDS | UINT4_GRIDS | INT8_GRIDS
