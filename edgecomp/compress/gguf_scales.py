"""The float16 scales of GGUF's blocks, apart from their codes.

A block stands for `values = d * u` or `values = d * u + dmin * v` (Q4_1 and Q5_1: m for dmin), in
which u and v, the units, are what codes and integer sub-scales make of it: values are linear in the
scales. Where a block keeps its scales is that of ggml-common.h (`block_q2_K` and its neighbours).
Every product d * u is exact in float32, so that these values are `gguf.dequantize`'s bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgecomp.compress.gguf_grids import half_bytes
from edgecomp.models.tensor_types import TENSOR_TYPES

SCALE_PLACES: dict[str, tuple[int, ...]] = {
    "Q8_0": (0,), "Q4_0": (0,), "Q5_0": (0,), "IQ4_NL": (0,),
    "Q4_1": (0, 2), "Q5_1": (0, 2),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "IQ4_XS": (0,), "IQ3_S": (0,), "IQ3_XXS": (0,), "IQ2_S": (0,), "IQ2_XS": (0,), "IQ2_XXS": (0,),
}  # fmt: skip
"""The byte of its block at which each float16 scale of a type begins. MXFP4 has powers of two."""


def block_scales(kind: str, rows: Tensor) -> Tensor:
    """The scales in rows uint8 [rows, row bytes]: float32 [rows, blocks, scales of a block]."""
    blocks = _blocks(kind, rows)
    parts = [blocks[..., place : place + 2] for place in SCALE_PLACES[kind]]
    return torch.stack(
        [part.contiguous().view(torch.float16)[..., 0] for part in parts], -1
    ).float()


def with_scales(kind: str, rows: Tensor, scales: Tensor) -> Tensor:
    """The same codes with other scales [rows, blocks, scales of a block], rounded to float16."""
    blocks = _blocks(kind, rows).clone()
    for index, place in enumerate(SCALE_PLACES[kind]):
        stored = half_bytes(scales[..., index].reshape(-1))
        blocks[..., place : place + 2] = stored.view(*blocks.shape[:2], 2)
    return blocks.view_as(rows)


def block_units(kind: str, rows: Tensor) -> list[Tensor]:
    """The units of each scale: float32 [rows, blocks, block's elements]."""
    scales = block_scales(kind, rows)
    units = []
    for index in range(scales.shape[-1]):
        alone = torch.zeros_like(scales)
        alone[..., index] = 1
        values = dequantized(kind, with_scales(kind, rows, alone))
        units.append(values.view(*scales.shape[:2], -1))
    return units


def dequantized(kind: str, rows: Tensor) -> Tensor:
    """The values of rows of bytes, float32 [rows, columns]."""
    data: NDArray[np.uint8] = rows.numpy()
    return torch.from_numpy(gguf.dequantize(data, gguf.GGMLQuantizationType[kind]))


def _blocks(kind: str, rows: Tensor) -> Tensor:
    return rows.reshape(len(rows), -1, TENSOR_TYPES[kind].block_bytes)


def scaled(units: Sequence[Tensor], scales: Tensor) -> Tensor:
    """The values [rows, columns] of units under scales [rows, blocks, scales of a block]."""
    values = units[0] * scales[..., :1]
    for index, unit in enumerate(units[1:], start=1):
        values = values + unit * scales[..., index : index + 1]
    return values.flatten(1)


def scale_gradient(units: Sequence[Tensor], gradient: Tensor) -> Tensor:
    """What a gradient of the values [rows, columns] is one of the scales: sums over each block."""
    blocks = gradient.view_as(units[0])
    return torch.stack([(blocks * unit).sum(dim=-1) for unit in units], dim=-1)
