"""GPTQ (Frantar et al. 2022, arXiv 2210.17323) onto any grid, GGUF's block types among them.

Columns are rounded one after another, each compensated by those to come; sweep.py has the
equations. A group's scales are chosen under the weights M_i,i^2 that rounding errors have there.

In natural order a group's scales are chosen when its turn comes, from the weights as they then are,
error fed back. With `act_order` columns go by falling diagonal of H; groups keep their columns, so
scales are chosen beforehand from the original weights ("static groups").
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.compress.blocks import Block, Method
from edgecomp.compress.grids import Grid, Scales
from edgecomp.compress.hessian import DAMPING, gather_hessians, upper_factor
from edgecomp.compress.quantized import GridOf, Quantized, group_slices, keep, per_column
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.compress.sweep import TILE, Sweep


def gptq(
    weight: Tensor,
    hessian: Tensor,
    grid: Grid,
    *,
    act_order: bool = False,
    damping: float = DAMPING,
    name: str = "the matrix",
) -> Quantized:
    """Quantize weight float32 [rows, columns] under hessian float32 [columns, columns].

    Raises HessianSingular and CompressionSettingsInvalid, naming `name`.
    """
    groups = group_slices(grid, weight.shape[1], name)
    if act_order:
        return _by_activation(weight, hessian, grid, groups, damping, name)
    sweep = Sweep(weight, upper_factor(hessian, name, damping))
    codes = torch.empty_like(sweep.weight, dtype=torch.int16)
    kept: list[Scales] = []
    together = max(1, TILE // (groups[0].stop - groups[0].start))
    for first in range(0, len(groups), together):
        members = groups[first : first + together]
        sweep.open(slice(members[0].start, members[-1].stop))
        kept += [_solve_group(sweep, grid, group, codes) for group in members]
    return Quantized(codes.T.contiguous(), sweep.values.T.contiguous(), tuple(kept))


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
        step, offset = scales.step[:, index].contiguous(), scales.offset[:, index].contiguous()

        def choose(
            column: int, wanted: Tensor, step: Tensor = step, offset: Tensor = offset
        ) -> Tensor:
            codes[column] = grid.codes.nearest(wanted, step, offset)
            return grid.codes.values(codes[column], step, offset)

        sweep.run(columns, choose)
    return scales


def _by_activation(
    weight: Tensor, hessian: Tensor, grid: Grid, groups: list[slice], damping: float, name: str
) -> Quantized:
    order = hessian.diagonal().argsort(descending=True, stable=True)
    back = order.argsort()
    sweep = Sweep(weight[:, order], upper_factor(hessian[order][:, order], name, damping))
    importance = sweep.importance[back]
    kept = round_to_nearest(weight, grid, importance, name).scales
    step, offset = (
        torch.cat([per_column(p, g.stop - g.start) for p, g in zip(parts, groups, strict=True)], 1)
        .T[order]
        .contiguous()
        for parts in ([scales.step for scales in kept], [scales.offset for scales in kept])
    )
    codes = torch.empty_like(sweep.weight, dtype=torch.int16)

    def choose(column: int, wanted: Tensor) -> Tensor:
        codes[column] = grid.codes.nearest(wanted, step[column], offset[column])
        return grid.codes.values(codes[column], step[column], offset[column])

    sweep.run(slice(0, len(order)), choose)
    return Quantized(codes[back].T.contiguous(), sweep.values[back].T.contiguous(), kept)


def gptq_method(grid_of: GridOf, *, act_order: bool = False, damping: float = DAMPING) -> Method:
    """The walker's method."""

    def method(block: Block) -> None:
        hessians = gather_hessians(block)
        while hessians:
            # Each goes as soon as its layers are done: a wide one is hundreds of megabytes.
            names, hessian = hessians.pop(0)
            for name in names:
                linear, layer = block.linears[name], block.weight_name(name)
                grid = grid_of(layer)
                if grid is not None:
                    solved = gptq(
                        linear.weight,
                        hessian,
                        grid,
                        act_order=act_order,
                        damping=damping,
                        name=layer,
                    )
                    keep(block, name, linear, grid, solved)

    return method
