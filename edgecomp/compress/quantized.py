"""A matrix on a grid: its codes, the scales of each group, the values they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.blocks import Block
from edgecomp.compress.grids import Grid, Scales
from edgecomp.compress.packed import PackedTensor
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.compression_limits import WEIGHTS_SOLVED

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
            f"divide. Choose {TENSOR_TYPES[grid.name].fallback or 'F16'}, as llama.cpp does."
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


def by_grid(block: Block, names: Sequence[str], grid_of: GridOf) -> dict[Grid, list[str]]:
    """The linears that go on each grid; those that stay as they are are left out."""
    found: dict[Grid, list[str]] = {}
    for name in names:
        grid = grid_of(block.weight_name(name))
        if grid is not None:
            found.setdefault(grid, []).append(name)
    return found


def quantize_group(block: Block, grids: dict[Grid, list[str]], solve: Solver) -> None:
    """Put linears that read one tensor on their grids, and their bytes into the block where a grid
    is one of GGUF's.

    Rows leave each other alone: those of one grid are solved as one matrix, so that what goes
    column by column is done once for all, but no more of them at once than memory allows.
    """
    for grid, names in grids.items():
        weights = {name: block.linears[name].weight for name in names}
        packed: dict[str, list[Tensor]] = {name: [] for name in names}
        for parts in _solved_together(weights):
            pieces = [weights[name][rows] for name, rows in parts]
            stacked = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
            solved = solve(weight=stacked, grid=grid, name=block.weight_name(names[0]))
            for (name, rows), part in zip(parts, _split(solved, parts), strict=True):
                weights[name][rows].copy_(part.values)
                stored = pack(grid, part)
                if stored is not None:
                    packed[name].append(stored.rows)
            block.count_work(solved_weights=stacked.numel())
        block.packed |= {
            name: PackedTensor(grid.name, torch.cat(rows)) for name, rows in packed.items() if rows
        }


def _solved_together(weights: dict[str, Tensor]) -> Iterator[list[tuple[str, slice]]]:
    """Rows of matrices of one width, in their order, that are stacked for one solution."""
    lengths = [len(weight) for weight in weights.values()]
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    most = max(1, WEIGHTS_SOLVED // next(iter(weights.values())).shape[1])
    for first in range(0, sum(lengths), most):
        within = (
            (name, slice(max(first - start, 0), min(first + most - start, length)))
            for name, start, length in zip(weights, starts, lengths, strict=True)
        )
        yield [(name, rows) for name, rows in within if rows.start < rows.stop]


def _split(solved: Quantized, parts: Sequence[tuple[str, slice]]) -> Iterator[Quantized]:
    """The rows that were solved as one."""
    start = 0
    for _, rows in parts:
        own = slice(start, start + rows.stop - rows.start)
        scales = (
            Scales(s.step[own], s.offset[own], tuple(stored[own] for stored in s.stored))
            for s in solved.scales
        )
        yield Quantized(solved.codes[own], solved.values[own], tuple(scales))
        start = own.stop
