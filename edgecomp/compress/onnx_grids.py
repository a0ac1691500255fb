"""The blocks of ONNX Runtime's MatMulNBits as grids: symmetric 4-bit integers, one scale a block.

A weight is `scale * (code - 8)` for codes 0..15 (operator MatMulNBits of com.microsoft, without
zero points); its bytes hold column 2j in the low and column 2j + 1 in the high half. The step here
is a float16 value, so that the same codes serve providers whose scales are float16. Products of
such a step and a small integer are exact in float32: what the operator computes with is what the
solver chose, bit for bit.

packed.py keeps a block as its scale (float32, 4 bytes) and then its codes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.compress.grids import Codes, Grid, Scales, half, search_step

FOUR = Codes(-8, 7)


def _fit(x: Tensor, w: Tensor) -> Scales:
    step = half(search_step(x, w, FOUR))[:, None]
    return Scales(step, torch.zeros_like(step))


def _pack(codes: Tensor, scales: Scales) -> Tensor:
    unsigned = (codes + 8).to(torch.uint8)
    scale = scales.step[:, 0].contiguous().view(torch.uint8).view(-1, 4)
    return torch.cat([scale, unsigned[:, 0::2] | unsigned[:, 1::2] << 4], dim=1)


ONNX_GRIDS = {
    name: Grid(name, FOUR, block, block, _fit, pack=_pack)
    for name, block in (("INT4_32", 32), ("INT4_64", 64), ("INT4_128", 128))
}
