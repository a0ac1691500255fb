"""A matrix on a grid: its codes, the scales of each group, the values they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgecomp.compress.blocks import Block
from edgecomp.compress.grids import Grid, Scales
from edgecomp.compress.packed import PackedTensor
from edgecomp.errors import CompressionSettingsInvalid

GridOf = Callable[[str], Grid | None]
"""The grid for the weight of this Hugging Face name; None: it stays as it is."""


class Quantized(NamedTuple):
    """codes int16 [rows, columns]; values float32 [rows, columns]; scales: one entry a group."""

    codes: Tensor
    values: Tensor
    scales: tuple[Scales, ...]


def group_slices(grid: Grid, columns: int, weight_name: str) -> list[slice]:
    """The columns of each group; the last group of a plain integer grid may be shorter.

    Raises CompressionSettingsInvalid where a GGUF type's block does not divide the columns.
    """
    group = columns if grid.group == -1 else grid.group
    if grid.pack is not None and columns % group:
        raise CompressionSettingsInvalid(
            f"{weight_name} has {columns} columns, which blocks of {group} ({grid.name}) do not "
            "divide. Choose the type's fallback, as llama.cpp does (edgecomp.formats lists it)."
        )
    return [slice(first, min(first + group, columns)) for first in range(0, columns, group)]


def per_column(scales: Tensor, columns: int) -> Tensor:
    """Steps or offsets [rows, subs] repeated for each of a group's columns: [rows, columns]."""
    return scales.repeat_interleave(columns // scales.shape[1], dim=1)


def pack(grid: Grid, quantized: Quantized) -> PackedTensor | None:
    """The bytes of a matrix in a GGUF type; None for grids that are not GGUF's."""
    if grid.pack is None:
        return None
    columns = quantized.codes.shape[1] // len(quantized.scales)
    parts = torch.split(quantized.codes, columns, dim=1)
    rows = [grid.pack(p, s) for p, s in zip(parts, quantized.scales, strict=True)]
    return PackedTensor(grid.name, torch.cat(rows, dim=1))


def keep(block: Block, name: str, linear: nn.Linear, grid: Grid, quantized: Quantized) -> None:
    """Put the quantized weight into the block, and its bytes where the grid is one of GGUF's."""
    linear.weight.copy_(quantized.values)
    packed = pack(grid, quantized)
    if packed is not None:
        block.packed[name] = packed
