"""GPTQ (Frantar et al. 2022, arXiv 2210.17323) onto any grid, GGUF's block types among them.

Columns are rounded one after another, each compensated by those to come; sweep.py has the
equations. A group's scales are chosen under the weights M_i,i^2 that rounding errors have there.

In natural order a group's scales are chosen when its turn comes, from the weights as they then are,
error fed back. By activation columns go by falling diagonal of H; groups keep their columns, so
scales are chosen beforehand from the original weights ("static groups").

The paper's parts, by its names: H is HessianSum (hessian.py); Cholesky(H^-1) is replaced by M, its
inverse (ldl_factor.py); the error E of a column is what Sweep keeps of a column that is done; the
loop over a block's columns is Sweep.run, and the update of all later blocks is Sweep.open, which
gathers it when their turn comes. `paper_gptq` in tests/compress/test_gptq.py is the paper's
algorithm as it stands there, slow and obvious; the two agree to rounding.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.blocks import Block, Method
from edgecomp.compress.grids import Codes, Grid, Scales, column_scales
from edgecomp.compress.hessian import TokenWeights
from edgecomp.compress.in_order import hessians_in_order
from edgecomp.compress.ldl_factor import DAMPING, LdlFactor, ldl_factor
from edgecomp.compress.quantized import (
    GridOf,
    Quantized,
    by_grid,
    group_slices,
    per_column,
    quantize_group,
)
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.compress.sweep import TILE, Sweep
from edgecomp.compress.vector_codes import SIGNED, VectorCodes


def gptq(weight: Tensor, factor: LdlFactor, grid: Grid, *, name: str = "the matrix") -> Quantized:
    """Quantize weight float32 [rows, columns], its columns in the feedback's order.

    Raises CompressionSettingsInvalid, naming `name`.
    """
    groups = group_slices(grid, weight.shape[1], name)
    sweep = Sweep(weight, factor)
    if factor.order is not None:
        return _by_activation(weight, sweep, factor.order, grid, groups, name)
    codes = torch.empty_like(sweep.values, dtype=torch.int16)
    kept: list[Scales] = []
    together = max(1, TILE // (groups[0].stop - groups[0].start))
    for first in range(0, len(groups), together):
        members = groups[first : first + together]
        sweep.open(slice(members[0].start, members[-1].stop))
        kept += [_solve_group(sweep, grid, group, codes) for group in members]
    return Quantized(codes.T, sweep.values.T, tuple(kept))


def _solve_group(sweep: Sweep, grid: Grid, group: slice, codes: Tensor) -> Scales:
    """Choose a group's scales from its weights as they now are, then round it."""
    importance = sweep.importance[None]
    scales = grid.fit(sweep.free(group).T.contiguous(), importance[:, group])
    sub = group.stop - group.start if grid.sub == grid.group else grid.sub
    for index, first in enumerate(range(group.start, group.stop, sub)):
        columns = slice(first, first + sub)
        if grid.refit is not None and index:
            moved = sweep.free(columns).T.contiguous()
            scales = grid.refit(scales, index, moved, importance[:, columns])
        _choose_codes(sweep, grid.codes, columns, scales, index, codes)
    return scales


def _choose_codes(
    sweep: Sweep,
    kind: Codes | VectorCodes,
    columns: slice,
    scales: Scales,
    index: int,
    codes: Tensor,
) -> None:
    """Round the columns of a sub-group, whose scales are chosen."""
    if isinstance(kind, VectorCodes):
        _choose_vectors(sweep, kind, columns, scales.step[:, index, None], codes)
        return
    (scale,) = column_scales(scales.step[None, :, index], scales.offset[None, :, index])

    def choose(column: int, wanted: Tensor, value: Tensor) -> None:
        kind.put(wanted, scale, codes[column], value)

    sweep.run(columns, choose)


def _choose_vectors(
    sweep: Sweep, kind: VectorCodes, columns: slice, step: Tensor, codes: Tensor
) -> None:
    """The same for codes that are chosen some columns at a time; step [rows, 1]."""
    divisor = torch.where(step == 0, torch.inf, step)
    chosen = []

    def choose(free: Tensor, form: Tensor) -> Tensor:
        chosen.append(kind.choose(free / divisor, form))
        return chosen[-1] * step

    sweep.run_vectors(columns, SIGNED, choose)
    codes[columns] = torch.cat(chosen, dim=1).T.to(codes.dtype)


def _by_activation(
    weight: Tensor, sweep: Sweep, order: Tensor, grid: Grid, groups: list[slice], name: str
) -> Quantized:
    kind = grid.codes
    if isinstance(kind, VectorCodes):
        raise CompressionSettingsInvalid(
            f"{name} cannot go to {grid.name} in the order of activation, which takes apart the "
            f"{SIGNED} columns that it chooses together. Leave the columns in their order."
        )
    back = order.argsort()
    importance = sweep.importance[back]
    kept = round_to_nearest(weight, grid, importance, name).scales
    step, offset = (
        torch.cat([per_column(p, g.stop - g.start) for p, g in zip(parts, groups, strict=True)], 1)
        for parts in ([scales.step for scales in kept], [scales.offset for scales in kept])
    )
    scales = column_scales(step.T[order], offset.T[order])
    codes = torch.empty_like(sweep.values, dtype=torch.int16)

    def choose(column: int, wanted: Tensor, value: Tensor) -> None:
        kind.put(wanted, scales[column], codes[column], value)

    sweep.run(slice(0, len(order)), choose)
    return Quantized(codes[back].T, sweep.values[back].T, kept)


def gptq_method(
    grid_of: GridOf,
    *,
    act_order: bool = False,
    damping: float = DAMPING,
    weights: TokenWeights | None = None,
) -> Method:
    """The walker's method; tokens count by their weights where there are some."""

    def method(block: Block) -> None:
        for names, hessian in hessians_in_order(block, weights):
            grids = by_grid(block, names, grid_of)
            if grids:
                name = block.weight_name(names[0])
                factor = ldl_factor(hessian, name, damping=damping, by_activation=act_order)
                quantize_group(block, grids, partial(gptq, factor=factor))
                # Hundreds of megabytes for a wide layer, which the next one's need not join.
                del factor
            del hessian

    return method
