"""A matrix on a grid: its codes, the scales of each group, the values they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

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


class Solver(Protocol):
    """Puts a weight float32 [rows, columns] on a grid; errors name `name`."""

    def __call__(self, *, weight: Tensor, grid: Grid, name: str) -> Quantized: ...


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


def quantize_group(
    block: Block,
    names: Sequence[str],
    grid_of: GridOf,
    solve: Solver,
) -> None:
    """Put linears that read one tensor on their grids, and their bytes into the block where a grid
    is one of GGUF's.

    Those on the same grid are solved as one matrix: rows leave each other alone, and what goes
    column by column is done once for all.
    """
    members: dict[Grid, list[str]] = {}
    for name in names:
        grid = grid_of(block.weight_name(name))
        if grid is not None:
            members.setdefault(grid, []).append(name)
    for grid, together in members.items():
        weights = [block.linears[name].weight for name in together]
        stacked = torch.cat(weights) if len(weights) > 1 else weights[0]
        solved = solve(weight=stacked, grid=grid, name=block.weight_name(together[0]))
        for name, part in zip(together, _split(solved, [len(w) for w in weights]), strict=True):
            block.linears[name].weight.copy_(part.values)
            packed = pack(grid, part)
            if packed is not None:
                block.packed[name] = packed


def _split(quantized: Quantized, rows: Sequence[int]) -> Iterator[Quantized]:
    """The matrices that were solved as one."""
    start = 0
    for count in rows:
        own = slice(start, start + count)
        scales = (
            Scales(s.step[own], s.offset[own], tuple(stored[own] for stored in s.stored))
            for s in quantized.scales
        )
        yield Quantized(quantized.codes[own], quantized.values[own], tuple(scales))
        start += count
