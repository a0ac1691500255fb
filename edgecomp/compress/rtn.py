"""Round to nearest: every weight takes the nearest value of its grid; only the scales are chosen.

With `importance`, input column j's errors count by the mean of x_j^2 over the calibration, as in
llama.cpp's quantizers; without, all count alike.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import torch
from torch import Tensor

from edgecomp.compress.blocks import Block, Method
from edgecomp.compress.grids import Grid, Scales
from edgecomp.compress.quantized import (
    GridOf,
    Quantized,
    by_grid,
    group_slices,
    per_column,
    quantize_group,
)
from edgecomp.compress.routed import prior


def round_to_nearest(
    weight: Tensor, grid: Grid, importance: Tensor | None = None, name: str = "the matrix"
) -> Quantized:
    """Quantize weight float32 [rows, columns]; importance [columns]. `name` is for errors."""
    columns = weight.shape[1]
    counts = torch.ones(columns, device=weight.device) if importance is None else importance
    # A column that is never driven still has to come out right on other texts.
    counts = counts.clamp_min(1e-6 * counts.mean()).clamp_min(torch.finfo(torch.float32).tiny)
    groups = group_slices(grid, columns, name)
    width = groups[0].stop
    whole = columns // width
    parts = [_round(weight[:, : whole * width], counts[: whole * width], grid, whole)]
    if columns % width:
        parts.append(_round(weight[:, whole * width :], counts[whole * width :], grid, 1))
    return Quantized(
        torch.cat([part.codes for part in parts], dim=1),
        torch.cat([part.values for part in parts], dim=1),
        tuple(scales for part in parts for scales in part.scales),
    )


def _round(weight: Tensor, importance: Tensor, grid: Grid, groups: int) -> Quantized:
    """Round a matrix of so many groups of equal width, all groups in one go."""
    rows, columns = weight.shape
    width = columns // groups
    x = weight.reshape(rows * groups, width)
    weights = importance.expand(rows, columns).reshape(rows * groups, width)
    fitted = grid.fit(x, weights)
    step, offset = per_column(fitted.step, width), per_column(fitted.offset, width)
    codes = grid.codes.nearest(x, step, offset, weights)
    values = grid.codes.values(codes, step, offset)

    def of_group(part: Tensor, index: int) -> Tensor:
        return part.view(rows, groups, -1)[:, index]

    scales = tuple(
        Scales(
            of_group(fitted.step, i),
            of_group(fitted.offset, i),
            tuple(of_group(part, i) for part in fitted.stored),
        )
        for i in range(groups)
    )
    return Quantized(codes.view(rows, columns), values.view(rows, columns), scales)


def rtn(grid_of: GridOf, *, use_importance: bool) -> Method:
    """The walker's method."""

    def method(block: Block) -> None:
        means = mean_squares(block) if use_importance else {}
        for name in block.linears:
            solve = partial(round_to_nearest, importance=means.get(name))
            quantize_group(block, by_grid(block, [name], grid_of), solve)

    return method


def mean_squares(block: Block) -> dict[str, Tensor]:
    """The mean of each input column squared, float32 [columns], for each linear; an expert's with
    the prior of routed.py."""
    groups = block.shared_inputs()
    sums: dict[str, Tensor] = {}
    seen: Counter[str] = Counter()

    def add(first: str, inputs: Tensor) -> None:
        squares = inputs.square().sum(dim=0, dtype=torch.float64)
        sums[first] = sums.get(first, torch.zeros_like(squares)) + squares
        seen[first] += len(inputs)

    block.observe({g[0]: lambda x, first=g[0]: add(first, x) for g in groups})  # type: ignore[misc]
    means = {first: total / block.tokens for first, total in sums.items()}
    for first, mean in means.items():
        mean.add_(prior(mean, seen[first], block.tokens))
    return {name: means[group[0]].float() for group in groups for name in group}
