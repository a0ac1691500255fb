"""GGUF's IQ2 and IQ3 types as grids: 256 columns, sub-groups of 16 or 32 whose scales are 4-bit
integers times one float16 for all, and codes of 4 or 8 columns from a codebook (vector_codes.py).

Layouts and arithmetic are those of ggml-quants.c (`dequantize_row_iq2_xxs` and its neighbours) and
of gguf-py's `quants.py`; a test holds every type against `gguf.dequantize`, bit for bit. Scales are
chosen as for the K types (gguf_k_grids.py): the sub-groups' own best ones, rounded, then integers
and float16 scale in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from edgecomp.compress.gguf_grids import half_bytes
from edgecomp.compress.grids import Grid, Pack, Scales, half
from edgecomp.compress.vector_codes import SIGNED, VectorCodes, codebook

BLOCK = 256
MOST = 15
"""Scales are integers from 0 to this."""

TRIALS = (0.55, 0.7, 0.85, 1.0)
"""Steps that are tried, as shares of what reaches the largest weight."""


@dataclass(frozen=True)
class VectorScales:
    """Choice of scales for `value = d * (first + s_i) * unit * code`, s_i in [0, 15]."""

    codes: VectorCodes
    sub: int
    first: float
    unit: float

    def fit(self, x: Tensor, w: Tensor) -> Scales:
        n = len(x)
        parts, weights = self._parts(x), self._parts(w.expand_as(x))
        ideal = self._ideal(parts, weights).view(n, -1)
        d = half(ideal.amax(dim=1, keepdim=True) / ((self.first + MOST) * self.unit))
        s = self._round(ideal, d)
        s, d = self._improve(parts, weights, d, s), self._refit_d(parts, weights, d, s)
        s = self._improve(parts, weights, d, s)
        return self._scales(d, s)

    def refit(self, scales: Scales, index: int, x: Tensor, w: Tensor) -> Scales:
        d, s = scales.stored
        own = s[:, index : index + 1]
        best = self._improve(x, w.expand_as(x), d, own)
        s[:, index : index + 1] = best
        scales.step[:, index] = self._step(d, best)[:, 0]
        return scales

    def _parts(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.sub)

    def _step(self, d: Tensor, s: Tensor) -> Tensor:
        return d * (self.first + s) * self.unit

    def _scales(self, d: Tensor, s: Tensor) -> Scales:
        step = self._step(d, s)
        return Scales(step, torch.zeros_like(step), (d, s))

    def _round(self, ideal: Tensor, d: Tensor) -> Tensor:
        scaled = ideal / (self.unit * torch.where(d == 0, torch.inf, d))
        return (scaled - self.first).round_().clamp_(0, MOST)

    def _ideal(self, x: Tensor, w: Tensor) -> Tensor:
        """Steps [n, 1] that nearly minimise the error of x [n, sub], of any size."""
        top = float(codebook(self.codes.kind, x.device).magnitudes.max())
        reach = x.abs().amax(dim=1, keepdim=True) / top
        best, most = reach, torch.full_like(reach, -1.0)
        for share in TRIALS:
            level = self._levels(x, w, reach * share)
            wl = w * level
            along, square = (wl * x).sum(1, keepdim=True), (wl * level).sum(1, keepdim=True)
            # What the best step for these codes takes off sum w x^2.
            gain = torch.where(square > 0, along.square() / square.clamp_min(1e-30), 0)
            better = (gain > most) & (along > 0)
            best = torch.where(better, along / square.clamp_min(1e-30), best)
            most = torch.where(better, gain, most)
        return best

    def _levels(self, x: Tensor, w: Tensor, step: Tensor) -> Tensor:
        return self.codes.nearest(x, step, torch.zeros_like(step), w).float()

    def _improve(self, x: Tensor, w: Tensor, d: Tensor, s: Tensor) -> Tensor:
        """The best of s and its neighbours, by the error they lead to."""
        best, best_error = s, torch.full_like(s, torch.inf)
        for move in (0, -1, 1):
            trial = (s + move).clamp(0, MOST)
            step = self._step(d, trial).view(-1, 1)
            error = (w * (step * self._levels(x, w, step) - x).square()).sum(1).view_as(s)
            best = torch.where(error < best_error, trial, best)
            best_error = torch.minimum(error, best_error)
        return best

    def _refit_d(self, x: Tensor, w: Tensor, d: Tensor, s: Tensor) -> Tensor:
        """d by least squares for the codes that d and s lead to."""
        level = self._levels(x, w, self._step(d, s).view(-1, 1))
        unit = level * self._step(torch.ones_like(d), s).view(-1, 1)
        along = (w * unit * x).sum(dim=1).view_as(s).sum(dim=1, keepdim=True)
        square = (w * unit * unit).sum(dim=1).view_as(s).sum(dim=1, keepdim=True)
        usable = (square > 0) & (along > 0)
        return torch.where(usable, half(along / square.clamp_min(1e-30)), d)


@lru_cache
def _row_numbers(kind: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The digit of every magnitude, int64, and the codebook's row of every number that digits of a
    row make: int64; where none does, 0."""
    magnitudes = codebook(kind, device).magnitudes.long()
    known = torch.unique(magnitudes)
    digit = torch.zeros(int(known[-1]) + 1, dtype=torch.int64, device=device)
    digit[known] = torch.arange(len(known), device=device)
    numbers = (digit[magnitudes] * _places(len(known), magnitudes.shape[1], device)).sum(dim=1)
    rows = torch.zeros(len(known) ** magnitudes.shape[1], dtype=torch.int64, device=device)
    rows[numbers] = torch.arange(len(magnitudes), device=device)
    return digit, rows


def _places(base: int, width: int, device: torch.device) -> Tensor:
    return base ** torch.arange(width, device=device)


def _rows_of(codes: Tensor, choice: VectorCodes) -> Tensor:
    """The codebook's row of each vector: int64 [n, vectors]."""
    digit, rows = _row_numbers(choice.kind, codes.device)
    digits = digit[codes.abs().long()].view(len(codes), -1, choice.width)
    base = round(len(rows) ** (1 / choice.width))
    return rows[(digits * _places(base, choice.width, codes.device)).sum(dim=2)]


def _sign_bits(codes: Tensor) -> Tensor:
    """A bit for each of 8 columns, the first the lowest, set for minus: int64 [n, columns / 8]."""
    minus = (codes < 0).view(len(codes), -1, SIGNED).long()
    return (minus << torch.arange(SIGNED, device=codes.device)).sum(dim=2)


def _bytes(x: Tensor) -> Tensor:
    return x.to(torch.uint8)


def _little_endian(words: Tensor, size: int) -> Tensor:
    """Whole numbers int64 [n, m] as `size` bytes each, uint8 [n, m * size]."""
    shifts = 8 * torch.arange(size, device=words.device)
    return _bytes((words[:, :, None] >> shifts) & 255).flatten(1)


def _joined(parts: Tensor, bits: int) -> Tensor:
    """Whole numbers int64 [n, m, k] of so many bits each as one, the first the lowest: [n, m]."""
    shifts = bits * torch.arange(parts.shape[2], device=parts.device)
    return (parts << shifts).sum(dim=2)


def _nibble_pairs(s: Tensor) -> Tensor:
    return _bytes(s[:, 0::2].long() | s[:, 1::2].long() << 4)


def _signs_and_scales(codes: Tensor, s: Tensor) -> Tensor:
    """Four times 7 signs and a scale in each 32 columns, int64 [n, 8]; the eighth sign follows."""
    signs = (_sign_bits(codes) & 127).view(len(codes), 8, 4)
    return _joined(signs, 7) | s.long() << 28


def _packer(choice: VectorCodes, parts: Callable[[Tensor, Tensor, Tensor], list[Tensor]]) -> Pack:
    """parts(codes, rows of the codebook, scales): what comes after d."""

    def pack(codes: Tensor, scales: Scales) -> Tensor:
        d, s = scales.stored
        return torch.cat([half_bytes(d), *parts(codes, _rows_of(codes, choice), s)], dim=1)

    return pack


def _iq2_xxs(codes: Tensor, rows: Tensor, s: Tensor) -> list[Tensor]:
    words = torch.stack([_joined(rows.view(-1, 8, 4), 8), _signs_and_scales(codes, s)], dim=2)
    return [_little_endian(words.flatten(1), 4)]


def _iq2_xs(codes: Tensor, rows: Tensor, s: Tensor) -> list[Tensor]:
    return [_little_endian(rows | (_sign_bits(codes) & 127) << 9, 2), _nibble_pairs(s)]


def _iq2_s(codes: Tensor, rows: Tensor, s: Tensor) -> list[Tensor]:
    high = _joined((rows >> 8).view(-1, 8, 4), 2)
    return [_bytes(rows & 255), _bytes(_sign_bits(codes)), _bytes(high), _nibble_pairs(s)]


def _iq3_xxs(codes: Tensor, rows: Tensor, s: Tensor) -> list[Tensor]:
    return [_bytes(rows), _little_endian(_signs_and_scales(codes, s), 4)]


def _iq3_s(codes: Tensor, rows: Tensor, s: Tensor) -> list[Tensor]:
    high = _joined((rows >> 8).view(-1, 8, 8), 1)
    return [_bytes(rows & 255), _bytes(high), _bytes(_sign_bits(codes)), _nibble_pairs(s)]


def _grid(choice: VectorScales, parts: Callable[[Tensor, Tensor, Tensor], list[Tensor]]) -> Grid:
    codes = choice.codes
    pack = _packer(codes, parts)
    return Grid(codes.kind, codes, BLOCK, choice.sub, choice.fit, choice.refit, pack)


VECTOR_GRIDS = {
    grid.name: grid
    for grid in (
        _grid(VectorScales(VectorCodes("IQ3_S", 4, even_signs=False), 32, 0.5, 2.0), _iq3_s),
        _grid(VectorScales(VectorCodes("IQ3_XXS", 4, even_signs=True), 32, 0.5, 0.5), _iq3_xxs),
        _grid(VectorScales(VectorCodes("IQ2_S", 8, even_signs=False), 16, 0.5, 0.25), _iq2_s),
        _grid(VectorScales(VectorCodes("IQ2_XS", 8, even_signs=True), 16, 0.5, 0.25), _iq2_xs),
        _grid(VectorScales(VectorCodes("IQ2_XXS", 8, even_signs=True), 32, 0.5, 0.25), _iq2_xxs),
    )
}
