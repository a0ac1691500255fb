"""Symmetric integers with one scale a block as grids: for ONNX Runtime's MatMulNBits (4 bits), and
for GPTQ's and compressed-tensors' checkpoints (4 and 8 bits).

A weight is `scale * (code - 8)` for codes 0..15 (operator MatMulNBits of com.microsoft, without
zero points), or `scale * (code - 128)` at 8 bits; a byte of 4-bit codes holds column 2j in the low
and column 2j + 1 in the high half. The step here is a float16 value, so that the same codes serve
providers whose scales are float16. Products of such a step and a small integer are exact in
float32: what the operator computes with is what the solver chose, bit for bit.

packed.py keeps a block as its scale (float32, 4 bytes) and then its codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.compress.grids import Codes, Grid, Scales, half, search_step

SCALE_BYTES = 4


def _grid(bits: int, block: int) -> Grid:
    codes = Codes(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

    def fit(x: Tensor, w: Tensor) -> Scales:
        step = half(search_step(x, w, codes))[:, None]
        return Scales(step, torch.zeros_like(step))

    def pack(chosen: Tensor, scales: Scales) -> Tensor:
        stored = (chosen - codes.low).to(torch.uint8)
        if bits == 4:
            stored = stored[:, 0::2] | stored[:, 1::2] << 4
        scale = scales.step[:, 0].contiguous().view(torch.uint8).view(-1, SCALE_BYTES)
        return torch.cat([scale, stored], dim=1)

    return Grid(f"INT{bits}_{block}", codes, block, block, fit, pack=pack)


BLOCKS = (32, 64, 128)
ONNX_GRIDS = {grid.name: grid for grid in (_grid(4, block) for block in BLOCKS)}
INT8_GRIDS = {grid.name: grid for grid in (_grid(8, block) for block in BLOCKS)}
