"""Grids: the values a group of weights may take, and the search for the group's best scales.

A weight is stored as a code c in [low, high] and stands for `step * level(c) + offset`, where step
and offset belong to a few neighbouring columns and level is the identity for all but the non-linear
GGUF types. A grid knows how to choose step and offset for a group of columns so that the weighted
squared error sum_j w_j (x_j - value_j)^2 is small; the solvers (rounding, GPTQ) know which w.

The search follows llama.cpp's `make_qx_quants` and `make_qkx3_quants` (ggml-quants.c): try several
ranges, round, solve for the best scales of the codes found (least squares), keep the best. Here
more ranges are tried, both signs of a lopsided code range, and the winner is polished by
alternating.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.compress.vector_codes import VectorCodes

WIDEST, NARROWEST = 1.10, 0.575
"""Trial ranges as shares of the full range, for grids of up to 16 values: beyond 1 for a lopsided
grid, far below it because cutting outliers pays at few bits. Finer grids are tried closer to 1."""

NEAR = 3e-3
"""How far weights that were rounded before may be off their grid, as a share of the largest of
their group: they were kept in 16 bits since, and what such an error leaves was fed back."""

EVEN_TRIALS, CURVED_TRIALS, AFFINE_TRIALS = 12, 8, 8
"""How many ranges are tried. More gain less than 0.05 % of the error on the demo model's weights;
a curved grid, whose levels crowd near zero, is less choosy still."""

SHIFTS = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""Trial offsets, in steps: where the grid's points fall matters as much as how far they reach."""

FEW_VALUES, GROUPS_LOOKED_AT = 16, 64
"""A group of more columns with no more values than this comes from a grid itself."""

POLISH = 2
CHUNK_ELEMENTS = 1 << 17
"""Elements worked on at once: temporaries of this size stay in a core's cache."""


class Scales(NamedTuple):
    """Scales of n groups: `step` and `offset` float32 [n, columns/sub], and what packing stores."""

    step: Tensor
    offset: Tensor
    stored: tuple[Tensor, ...] = ()


Fit = Callable[[Tensor, Tensor], Scales]
Refit = Callable[[Scales, int, Tensor, Tensor], Scales]
Pack = Callable[[Tensor, Scales], Tensor]


@lru_cache
def _level_table(levels: tuple[float, ...], device: torch.device) -> Tensor:
    """float32 [levels], made once: to make it anew for every column would have a card wait."""
    return torch.tensor(levels, device=device)


@lru_cache
def _nearest_code(levels: tuple[float, ...], device: torch.device) -> Tensor:
    """The code of the nearest of whole-numbered levels within ±127, for each half from -128 to
    127.5: int16 [512].

    Borders between whole numbers lie on halves, so looking up is exact, and far faster than
    searching.
    """
    inside = torch.arange(512) / 2 - 128 + 0.25
    table = torch.tensor(levels)
    return torch.bucketize(inside, (table[1:] + table[:-1]) / 2).to(device, torch.int16)


@lru_cache
def _nearest_level(levels: tuple[float, ...], device: torch.device) -> Tensor:
    """The level that `_nearest_code` names, for each half: float32 [512]."""
    return _level_table(levels, device)[_nearest_code(levels, device).long()]


def _look_up(table: Tensor, scaled: Tensor) -> Tensor:
    """The entry for the half at or below each element of `scaled`, which is overwritten."""
    halves = scaled.mul_(2).floor_().add_(256).clamp_(0, 511).int()
    return table.index_select(0, halves.flatten()).view(scaled.shape)


def _divisor(step: Tensor) -> Tensor:
    return torch.where(step == 0, torch.inf, step)


class Scale(NamedTuple):
    """What one column's codes are told by: `step` and `offset` [rows], and what to divide by."""

    step: Tensor
    offset: Tensor
    divisor: Tensor


def column_scales(step: Tensor, offset: Tensor) -> list[Scale]:
    """The scale of each column whose steps and offsets are float32 [columns, rows]."""
    parts = (step.contiguous(), offset.contiguous(), _divisor(step).contiguous())
    return [Scale(*rows) for rows in zip(*(part.unbind() for part in parts), strict=True)]


@dataclass(frozen=True)
class Codes:
    """The codes low..high and what they stand for."""

    low: int
    high: int
    levels: tuple[float, ...] | None = None
    """Ascending values of the codes, where those are not the codes themselves."""

    def nearest(
        self, x: Tensor, step: Tensor, offset: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Codes int16 of the grid values nearest to x; shapes broadcast to that of x. Each column
        goes for itself, whatever its weight."""
        scaled = (x - offset) / _divisor(step)
        if self.levels is None:
            return scaled.round_().clamp_(self.low, self.high).to(torch.int16)
        return _look_up(_nearest_code(self.levels, x.device), scaled)

    def put(self, x: Tensor, scale: Scale, codes: Tensor, values: Tensor) -> None:
        """The same for one column, with nothing made anew: x, overwritten, goes to the nearest of
        the grid's values, whose code and value are put into `codes` and `values`."""
        scaled = x.sub_(scale.offset).div_(scale.divisor)
        if self.levels is None:
            level = scaled.round_().clamp_(self.low, self.high)
            codes.copy_(level)
        else:
            codes.copy_(_look_up(_nearest_code(self.levels, x.device), scaled))
            level = _level_table(self.levels, x.device)[codes.long()]
        torch.mul(scale.step, level, out=values).add_(scale.offset)

    def level_of(self, scaled: Tensor) -> Tensor:
        """The levels nearest to `scaled`, which is overwritten."""
        if self.levels is None:
            return scaled.round_().clamp_(self.low, self.high)
        return _look_up(_nearest_level(self.levels, scaled.device), scaled)

    def values(self, codes: Tensor, step: Tensor, offset: Tensor) -> Tensor:
        """What codes stand for, float32, by the very operations of the runtimes' dequantizers."""
        if self.levels is None:
            return step * codes.float() + offset
        return step * _level_table(self.levels, codes.device)[codes.long()] + offset


@dataclass(frozen=True)
class Grid:
    """One format of weights.

    `fit(x, w)` chooses scales for x float32 [n, columns] under the weights w [n, columns] or
    [1, columns]; `refit(scales, i, x, w)` chooses those of sub-group i anew, x [n, sub], when the
    error fed back has moved its weights; `pack(codes, scales)` gives uint8 [n, bytes] for codes
    int16 [n, columns].
    """

    name: str
    codes: Codes | VectorCodes
    group: int
    """Columns whose scales are chosen together; -1: all of a row."""

    sub: int
    """Columns that share one step; as large as the group, or a part of it."""

    fit: Fit
    refit: Refit | None = None
    pack: Pack | None = None


def integer_grid(bits: int, group: int, *, symmetric: bool) -> Grid:
    """Plain integers as GPTQ and AWQ checkpoints store them: 2, 3, 4 or 8 bits, a step (and, where
    not symmetric, an integer zero point) per `group` columns, -1 for a whole row.

    A last group may be shorter than `group`. Steps are float16. Raises CompressionSettingsInvalid.
    """
    if bits not in (2, 3, 4, 8) or not (group == -1 or group > 0):
        raise CompressionSettingsInvalid(
            f"There is no integer grid of {bits} bits in groups of {group} columns. Choose 2, 3, 4 "
            "or 8 bits and groups of 32, 64, 128 or -1 (a whole row)."
        )
    if symmetric:
        codes = Codes(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)

        def fit(x: Tensor, w: Tensor) -> Scales:
            step = half(search_step(x, w, codes))[:, None]
            return Scales(step, torch.zeros_like(step))

        return Grid(f"int{bits}", codes, group, group, fit)
    top = (1 << bits) - 1

    def fit_zero(x: Tensor, w: Tensor) -> Scales:
        step, offset = search_step_offset(x, w, top)
        groups = max(1, CHUNK_ELEMENTS // x.shape[1])
        pieces = zip(
            *(torch.split(part, groups) for part in (x, w.expand_as(x), step, offset)), strict=True
        )
        found = [_whole_zero(a, b, c, d, top) for a, b, c, d in pieces]
        step, zero = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Scales(step, -zero * step, (zero,))

    return Grid(f"uint{bits}", Codes(0, top), group, group, fit_zero)


def _whole_zero(
    x: Tensor, w: Tensor, step: Tensor, offset: Tensor, top: int
) -> tuple[Tensor, Tensor]:
    """The best whole zero point near -offset / step, and the float16 step for it: [n, 1] each."""
    smallest = torch.finfo(torch.float16).tiny
    lowest = x.amin(dim=1, keepdim=True).clamp_max(0)
    full = (x.amax(dim=1, keepdim=True).clamp_min(0) - lowest) / top
    best_step = best_zero = torch.zeros_like(full)
    best_error = torch.full_like(full, torch.inf)
    for start, floor in ((step[:, None], offset[:, None]), (full, lowest)):
        for move in (0, -1, 1):
            zero = ((-floor / start.clamp_min(smallest)).round() + move).clamp(0, top)
            trial = start
            for _ in range(1 + POLISH):
                trial = half(trial).clamp_min(smallest)
                q = (x / trial + zero).round_().clamp_(0, top) - zero
                error = (w * (x - q * trial).square()).sum(dim=1, keepdim=True)
                better = error < best_error
                best_step = torch.where(better, trial, best_step)
                best_zero = torch.where(better, zero, best_zero)
                best_error = torch.minimum(error, best_error)
                square = (w * q * q).sum(dim=1, keepdim=True)
                along = (w * q * x).sum(dim=1, keepdim=True)
                trial = torch.where(square > 0, along / square.clamp_min(1e-30), trial)
    return best_step, best_zero


def half(x: Tensor) -> Tensor:
    """Rounded to what a float16 can hold, still float32."""
    return x.clamp(-65504, 65504).half().float()


def search_step(x: Tensor, w: Tensor, codes: Codes) -> Tensor:
    """The steps [n] that nearly minimise sum_j w_j (x_j - step * level(code_j))^2 for x, w [n, m].

    A step may be negative: a lopsided code range then reaches further on the negative side's
    behalf.
    """
    return torch.cat([_search_step(*part, codes) for part in _columns_first(x, w)])


def _search_step(x: Tensor, w: Tensor, codes: Codes) -> Tensor:
    largest = x.abs().amax(dim=0)
    reach = -codes.levels[0] if codes.levels else float(-codes.low)
    best_gain = torch.full_like(largest, -1.0)
    best = torch.zeros_like(largest)

    def keep_better(inverse: Tensor) -> Tensor:
        nonlocal best, best_gain
        q = codes.level_of(x * inverse)
        wq = w * q
        along, square = (wq * x).sum(dim=0), (wq * q).sum(dim=0)
        # With the best step for these codes the error is sum w x^2 - along^2 / square.
        gain = torch.where(square > 0, along * along / square, 0)
        better = gain > best_gain
        best = torch.where(better, along / square, best)
        best_gain = torch.where(better, gain, best_gain)
        return q

    for shrink in _shares(2 * reach, CURVED_TRIALS if codes.levels else EVEN_TRIALS):
        inverse = torch.where(largest > 0, reach / (largest * shrink), 0)
        keep_better(inverse)
        if codes.high != -codes.low:
            keep_better(-inverse)
    exact = torch.zeros_like(largest)
    if _lies_on_a_grid(x):
        for level in _magnitudes(codes):
            inverse = torch.where(largest > 0, level / largest, 0)
            for signed in (inverse, -inverse):
                q = keep_better(signed)
                step = (q * x).sum(dim=0) / (q * q).sum(dim=0).clamp_min(1)
                lies = (x - q * step).abs().amax(dim=0) <= NEAR * largest
                exact = torch.where(lies & (exact == 0), step, exact)
    for _ in range(POLISH):
        keep_better(torch.where(best != 0, 1 / best, 0))
    # Where a few columns weigh a million times the others, the sums do not tell it from its like.
    best = torch.where(exact != 0, exact, best)
    return torch.where(torch.isfinite(best), best, 0)


def _lies_on_a_grid(x: Tensor) -> bool:
    """Whether groups x [m, n], some of them looked at, hold few values each: weights that were
    rounded to 4 bits or less before. Their step is known once the largest one's code is."""
    some = x[:, :: max(1, x.shape[1] // GROUPS_LOOKED_AT)].sort(dim=0).values
    near = NEAR * some.abs().amax(dim=0)
    distinct = 1 + (some[1:] - some[:-1] > near).sum(dim=0)
    return x.shape[0] > FEW_VALUES and bool((distinct <= FEW_VALUES).all())


def _magnitudes(codes: Codes) -> list[float]:
    """What the largest weight of a group that lies on the grid may be, in steps."""
    levels = codes.levels or [float(code) for code in range(codes.low, codes.high + 1)]
    return sorted({abs(level) for level in levels if level})[:FEW_VALUES]


def search_step_offset(
    x: Tensor, w: Tensor, top: int, *, offset_at_most_zero: bool = True
) -> tuple[Tensor, Tensor]:
    """Steps and offsets [n] that nearly minimise sum_j w_j (x_j - step * code_j - offset)^2 for
    codes 0..top and x, w [n, m]."""
    parts = [
        _search_step_offset(*part, top, offset_at_most_zero=offset_at_most_zero)
        for part in _columns_first(x, w)
    ]
    return torch.cat([step for step, _ in parts]), torch.cat([offset for _, offset in parts])


def _search_step_offset(
    x: Tensor, w: Tensor, top: int, *, offset_at_most_zero: bool
) -> tuple[Tensor, Tensor]:
    lowest, highest = x.amin(dim=0), x.amax(dim=0)
    if offset_at_most_zero:
        lowest, highest = lowest.clamp_max(0), highest.clamp_min(0)
    wx = w * x
    sum_w, sum_wx = w.sum(dim=0), wx.sum(dim=0)
    sum_wxx = wx.mul_(x).sum(dim=0)
    best_error = torch.full_like(lowest, torch.inf)
    best_step, best_offset = torch.zeros_like(lowest), lowest.clone()

    def keep_better(step: Tensor, offset: Tensor) -> None:
        nonlocal best_step, best_offset, best_error
        inverse = torch.where(step > 0, 1 / step, 0)
        q = torch.addcmul(-offset * inverse, x, inverse)
        q.round_().clamp_(0, top)
        wq = w * q
        sum_wq, sum_wqx = wq.sum(dim=0), (wq * x).sum(dim=0)
        sum_wqq = wq.mul_(q).sum(dim=0)
        determinant = sum_w * sum_wqq - sum_wq * sum_wq
        usable = determinant > 1e-12 * sum_w * sum_wqq
        safe = torch.where(usable, determinant, 1)
        step = torch.where(usable, (sum_w * sum_wqx - sum_wq * sum_wx) / safe, step)
        offset = torch.where(usable, (sum_wqq * sum_wx - sum_wq * sum_wqx) / safe, offset)
        if offset_at_most_zero:
            alone = torch.where(sum_wqq > 0, sum_wqx / sum_wqq.clamp_min(1e-30), step)
            step = torch.where(offset > 0, alone, step)
            offset = offset.clamp_max(0)
        # sum w (x - step q - offset)^2, multiplied out: no further pass over the weights.
        error = step * (step * sum_wqq + 2 * (offset * sum_wq - sum_wqx))
        error += offset * (offset * sum_w - 2 * sum_wx) + sum_wxx
        better = (error < best_error) & (step >= 0)
        best_step = torch.where(better, step, best_step)
        best_offset = torch.where(better, offset, best_offset)
        best_error = torch.where(better, error, best_error)

    for shrink in _shares(top + 1, AFFINE_TRIALS):
        step = (highest - lowest) * (shrink / top)
        for shift in SHIFTS:
            keep_better(step, lowest * shrink + shift * step)
    for _ in range(POLISH):
        keep_better(best_step, best_offset)
    return best_step, best_offset


def _shares(values: float, trials: int) -> list[float]:
    narrower = min(1.0, 16 / values)
    shares = torch.linspace(WIDEST, NARROWEST, trials, dtype=torch.float64)
    return [float(share**narrower) for share in shares]


def _columns_first(x: Tensor, w: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some groups at a time, [m, groups]: what belongs to a group multiplies whole rows, and sums
    over a group add rows."""
    groups = max(1, CHUNK_ELEMENTS // x.shape[1])
    for part, weights in zip(
        torch.split(x, groups), torch.split(w.expand_as(x), groups), strict=True
    ):
        yield part.T.contiguous(), weights.T.contiguous()
