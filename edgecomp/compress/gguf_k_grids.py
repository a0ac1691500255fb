"""GGUF's K types and IQ4_XS as grids: 256 columns, sub-groups of 16 or 32 whose scales are small
integers times one float16 for all (two float16 where there are offsets).

Layouts and arithmetic are those of ggml-quants.c (`dequantize_row_q4_K` and its neighbours) and of
gguf-py's `quants.py`; a test holds every type against `gguf.dequantize`, bit for bit. The choice of
scales goes past ggml's: after the sub-groups' own best scales are rounded to integers, integers and
float16 scales are improved in turn (neighbouring integers by trial, float16 by least squares).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgecomp.compress.gguf_grids import IQ4_NL_LEVELS, half_bytes
from edgecomp.compress.grids import (
    Codes,
    Grid,
    Pack,
    Scales,
    half,
    search_step,
    search_step_offset,
)

BLOCK = 256
ROUNDS = 2


@dataclass(frozen=True)
class SymmetricK:
    """Choice of scales for `value = d * s_i * code`, s_i an integer in [least, most]."""

    codes: Codes
    sub: int
    least: int
    most: int

    def fit(self, x: Tensor, w: Tensor) -> Scales:
        n, subs = len(x), BLOCK // self.sub
        flat_x, flat_w = x.reshape(-1, self.sub), w.expand_as(x).reshape(-1, self.sub)
        ideal = search_step(flat_x, flat_w, self.codes).view(n, subs)
        # The largest scale takes the integer range's far (negative) end, with its own sign.
        largest = ideal.gather(1, ideal.abs().argmax(dim=1, keepdim=True))
        d = half(largest / self.least)
        s = self._round(ideal, d)
        for _ in range(ROUNDS):
            s = self._improve(flat_x, flat_w, d, s, ideal)
            d = self._refit_d(flat_x, flat_w, d, s)
            s = self._improve(flat_x, flat_w, d, s, ideal)
        return self._scales(d, s)

    def refit(self, scales: Scales, index: int, x: Tensor, w: Tensor) -> Scales:
        d, s = scales.stored
        ideal = search_step(x, w.expand_as(x), self.codes)[:, None]
        start = self._round(ideal, d)
        s[:, index : index + 1] = self._improve(x, w.expand_as(x), d, start, ideal)
        scales.step[:, index] = (d * s)[:, index]
        return scales

    def _round(self, ideal: Tensor, d: Tensor) -> Tensor:
        scaled = ideal / torch.where(d == 0, torch.inf, d)
        return scaled.round_().clamp_(self.least, self.most)

    def _scales(self, d: Tensor, s: Tensor) -> Scales:
        step = d * s
        return Scales(step, torch.zeros_like(step), (d, s))

    def _improve(self, x: Tensor, w: Tensor, d: Tensor, s: Tensor, ideal: Tensor) -> Tensor:
        """The best of s, its neighbours and the rounded ideal, by the error they lead to."""
        trials = [self._round(ideal, d), s, s - 1, s + 1]
        best, best_error = s, torch.full_like(s, torch.inf)
        for trial in trials:
            trial = trial.clamp(self.least, self.most)
            error = _error(self.codes, x, w, (d * trial).view(-1, 1), None).view_as(s)
            best = torch.where(error < best_error, trial, best)
            best_error = torch.minimum(error, best_error)
        return best

    def _refit_d(self, x: Tensor, w: Tensor, d: Tensor, s: Tensor) -> Tensor:
        """d by least squares for the codes that d and s lead to."""
        zero = torch.zeros(1, device=x.device)
        codes = self.codes.nearest(x, (d * s).view(-1, 1), zero)
        unit = self.codes.values(codes, s.reshape(-1, 1), zero)
        along = (w * unit * x).sum(dim=1).view_as(s).sum(dim=1, keepdim=True)
        square = (w * unit * unit).sum(dim=1).view_as(s).sum(dim=1, keepdim=True)
        return torch.where(square > 0, half(along / square.clamp_min(1e-30)), d)


@dataclass(frozen=True)
class AffineK:
    """Choice of scales for `value = d * s_i * code - dmin * m_i`, s_i and m_i in [0, most]."""

    codes: Codes
    sub: int
    most: int

    def fit(self, x: Tensor, w: Tensor) -> Scales:
        n, subs = len(x), BLOCK // self.sub
        flat_x, flat_w = x.reshape(-1, self.sub), w.expand_as(x).reshape(-1, self.sub)
        step, offset = search_step_offset(flat_x, flat_w, self.codes.high)
        ideal = step.view(n, subs), offset.view(n, subs)
        d = half(ideal[0].amax(dim=1, keepdim=True) / self.most)
        dmin = half(-ideal[1].amin(dim=1, keepdim=True) / self.most)
        s, m = self._round(ideal[0], d), self._round(-ideal[1], dmin)
        for _ in range(ROUNDS):
            s, m = self._improve(flat_x, flat_w, (d, dmin), (s, m))
            d, dmin = self._refit_d(flat_x, flat_w, (d, dmin), (s, m))
            s, m = self._improve(flat_x, flat_w, (d, dmin), (s, m))
        return Scales(d * s, -(dmin * m), (d, dmin, s, m))

    def refit(self, scales: Scales, index: int, x: Tensor, w: Tensor) -> Scales:
        d, dmin, s, m = scales.stored
        step, offset = search_step_offset(x, w.expand_as(x), self.codes.high)
        start = self._round(step[:, None], d), self._round(-offset[:, None], dmin)
        best = self._improve(x, w.expand_as(x), (d, dmin), start)
        s[:, index : index + 1], m[:, index : index + 1] = best
        scales.step[:, index] = (d * s)[:, index]
        scales.offset[:, index] = -(dmin * m)[:, index]
        return scales

    def _round(self, ideal: Tensor, d: Tensor) -> Tensor:
        scaled = ideal / torch.where(d == 0, torch.inf, d)
        return scaled.round_().clamp_(0, self.most)

    def _improve(
        self,
        x: Tensor,
        w: Tensor,
        d: tuple[Tensor, Tensor],
        start: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The best of s and m and their neighbours, by the error they lead to."""
        best, best_error = start, torch.full_like(start[0], torch.inf)
        for up in (0, -1, 1):
            for right in (0, -1, 1):
                s = (start[0] + up).clamp(0, self.most)
                m = (start[1] + right).clamp(0, self.most)
                step, offset = (d[0] * s).view(-1, 1), -(d[1] * m).view(-1, 1)
                error = _error(self.codes, x, w, step, offset).view_as(s)
                better = error < best_error
                best = torch.where(better, s, best[0]), torch.where(better, m, best[1])
                best_error = torch.minimum(error, best_error)
        return best

    def _refit_d(
        self,
        x: Tensor,
        w: Tensor,
        d: tuple[Tensor, Tensor],
        integers: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """d and dmin by least squares (2 x 2) for the codes that they lead to."""
        s, m = integers
        q = self.codes.nearest(x, (d[0] * s).view(-1, 1), -(d[1] * m).view(-1, 1)).float()
        a, b = q * s.reshape(-1, 1), -m.reshape(-1, 1).expand_as(q)

        def total(product: Tensor) -> Tensor:
            return (w * product).sum(dim=1).view_as(s).sum(dim=1, keepdim=True)

        aa, ab, bb, ax, bx = total(a * a), total(a * b), total(b * b), total(a * x), total(b * x)
        determinant = aa * bb - ab * ab
        usable = determinant > 1e-9 * aa * bb
        safe = torch.where(usable, determinant, 1)
        step, minimum = (bb * ax - ab * bx) / safe, (aa * bx - ab * ax) / safe
        usable &= (step > 0) & (minimum > 0)
        return torch.where(usable, half(step), d[0]), torch.where(usable, half(minimum), d[1])


def _error(codes: Codes, x: Tensor, w: Tensor, step: Tensor, offset: Tensor | None) -> Tensor:
    """Weighted squared error [n] of rounding x [n, sub] to steps and offsets [n, 1]."""
    shift = torch.zeros(1, device=x.device) if offset is None else offset
    values = codes.values(codes.nearest(x, step, shift), step, shift)
    return (w * (values - x).square()).sum(dim=1)


def _bytes(x: Tensor) -> Tensor:
    return x.to(torch.uint8)


def _quarters(codes: Tensor) -> Tensor:
    """2-bit codes uint8 [n, 256] -> [n, 64]: byte l of each 128 columns holds l, l + 32, l + 64,
    l + 96, lowest bits first."""
    part = codes.view(-1, 2, 4, 32)
    return (part[:, :, 0] | part[:, :, 1] << 2 | part[:, :, 2] << 4 | part[:, :, 3] << 6).flatten(1)


def _halves(codes: Tensor) -> Tensor:
    """4-bit codes uint8 [n, 256] -> [n, 128]: byte l of each 64 columns holds l and l + 32."""
    part = codes.view(-1, 4, 2, 32)
    return (part[:, :, 0] | part[:, :, 1] << 4).flatten(1)


def _bit_planes(bits: Tensor) -> Tensor:
    """Single bits uint8 [n, 256] -> [n, 32]: bit j of byte l belongs to column 32 j + l."""
    planes = bits.view(-1, 8, 32) << torch.arange(8, dtype=torch.uint8, device=bits.device)[:, None]
    return planes.sum(dim=1).to(torch.uint8)


def _six_bit_pairs(s: Tensor, m: Tensor) -> Tensor:
    """Eight 6-bit scales and minima, uint8 [n, 8] each -> [n, 12] (`get_scale_min_k4`)."""
    head = torch.cat([s[:, :4] | s[:, 4:] >> 4 << 6, m[:, :4] | m[:, 4:] >> 4 << 6], dim=1)
    return torch.cat([head, s[:, 4:] & 15 | (m[:, 4:] & 15) << 4], dim=1)


def pack_q2_k(codes: Tensor, scales: Scales) -> Tensor:
    d, dmin, s, m = scales.stored
    return torch.cat(
        [_bytes(s) | _bytes(m) << 4, _quarters(_bytes(codes)), half_bytes(d), half_bytes(dmin)], 1
    )


def pack_q3_k(codes: Tensor, scales: Scales) -> Tensor:
    d, s = scales.stored
    unsigned, scale = _bytes(codes + 4), _bytes(s + 32)
    low = scale[:, :8] & 15 | (scale[:, 8:] & 15) << 4
    part = (scale >> 4).view(-1, 4, 4)
    high = part[:, 0] | part[:, 1] << 2 | part[:, 2] << 4 | part[:, 3] << 6
    planes = _bit_planes(unsigned >> 2)
    return torch.cat([planes, _quarters(unsigned & 3), low, high, half_bytes(d)], dim=1)


def pack_q4_k(codes: Tensor, scales: Scales) -> Tensor:
    d, dmin, s, m = scales.stored
    pairs = _six_bit_pairs(_bytes(s), _bytes(m))
    return torch.cat([half_bytes(d), half_bytes(dmin), pairs, _halves(_bytes(codes))], dim=1)


def pack_q5_k(codes: Tensor, scales: Scales) -> Tensor:
    d, dmin, s, m = scales.stored
    pairs, unsigned = _six_bit_pairs(_bytes(s), _bytes(m)), _bytes(codes)
    planes = _bit_planes(unsigned >> 4)
    return torch.cat([half_bytes(d), half_bytes(dmin), pairs, planes, _halves(unsigned & 15)], 1)


def pack_q6_k(codes: Tensor, scales: Scales) -> Tensor:
    d, s = scales.stored
    unsigned = _bytes(codes + 32)
    part = (unsigned & 15).view(-1, 2, 2, 64)
    low = (part[:, :, 0] | part[:, :, 1] << 4).flatten(1)
    scale = s.to(torch.int8).view(torch.uint8)
    return torch.cat([low, _quarters(unsigned >> 4), scale, half_bytes(d)], dim=1)


def pack_iq4_xs(codes: Tensor, scales: Scales) -> Tensor:
    d, s = scales.stored
    scale = _bytes(s + 32)
    shifts = 2 * torch.arange(8, device=scale.device)
    high = ((scale >> 4).int() << shifts).sum(dim=1)
    words = torch.stack([high & 255, high >> 8], dim=1).to(torch.uint8)
    low = scale[:, 0::2] & 15 | (scale[:, 1::2] & 15) << 4
    part = _bytes(codes).view(-1, 8, 2, 16)
    return torch.cat(
        [half_bytes(d), words, low, (part[:, :, 0] | part[:, :, 1] << 4).flatten(1)], dim=1
    )


def _grid(name: str, choice: SymmetricK | AffineK, pack: Pack) -> Grid:
    return Grid(name, choice.codes, BLOCK, choice.sub, choice.fit, choice.refit, pack)


K_GRIDS = {
    grid.name: grid
    for grid in (
        _grid("Q2_K", AffineK(Codes(0, 3), 16, 15), pack_q2_k),
        _grid("Q3_K", SymmetricK(Codes(-4, 3), 16, -32, 31), pack_q3_k),
        _grid("Q4_K", AffineK(Codes(0, 15), 32, 63), pack_q4_k),
        _grid("Q5_K", AffineK(Codes(0, 31), 32, 63), pack_q5_k),
        _grid("Q6_K", SymmetricK(Codes(-32, 31), 16, -128, 127), pack_q6_k),
        _grid("IQ4_XS", SymmetricK(Codes(0, 15, IQ4_NL_LEVELS), 32, -32, 31), pack_iq4_xs),
    )
}
