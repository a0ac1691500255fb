"""GGUF's simple block types as grids: 32 columns, one step (and offset), packed codes. A step is a
float16, that of MXFP4 a power of two.

Layouts and arithmetic are those of ggml-quants.c (`dequantize_row_q4_0` and its neighbours) and of
gguf-py's `quants.py`; a test holds every type against `gguf.dequantize`, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgecomp.compress.grids import (
    Codes,
    Fit,
    Grid,
    Pack,
    Scales,
    half,
    search_step,
    search_step_offset,
)

BLOCK = 32
IQ4_NL_LEVELS = (
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0,
    1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
)  # fmt: skip
"""ggml-common.h, `kvalues_iq4nl`."""

FP4_LEVELS = (
    -12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0,
)  # fmt: skip
"""ggml-common.h, `kvalues_mxfp4`: the values of E2M1, doubled, once zero's two codes are one."""

FP4_NIBBLES = (15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7)
"""What stands for each level: a sign and three bits of magnitude."""

LEAST_EXPONENT, MOST_EXPONENT = -126, 126
"""Of MXFP4's steps: those of an E8M0 byte that are normal floats."""

EXPONENTS_TRIED = (0, -1, -2, 1)
"""From the least power of two under which no weight of the block is cut."""


def half_bytes(x: Tensor) -> Tensor:
    """float32 [n] -> the bytes of its float16 values, uint8 [n, 2]."""
    # A lone value out of a wider tensor keeps its stride, which a view of bytes refuses.
    halves = x.half().clone(memory_format=torch.contiguous_format)
    return halves.view(torch.uint8).view(-1, 2)


def nibbles(codes: Tensor) -> Tensor:
    """uint8 codes below 16, [n, 32] -> [n, 16]: byte j holds columns j (low) and j + 16 (high)."""
    return codes[:, :16] | codes[:, 16:] << 4


def fifth_bits(codes: Tensor) -> Tensor:
    """The fifth bits of uint8 codes [n, 32] as little-endian words, uint8 [n, 4]."""
    bits = (codes >> 4).view(-1, 4, 8) << torch.arange(8, dtype=torch.uint8, device=codes.device)
    return bits.sum(dim=2).to(torch.uint8)


def _symmetric(codes: Codes) -> Fit:
    def fit(x: Tensor, w: Tensor) -> Scales:
        step = half(search_step(x, w, codes))[:, None]
        return Scales(step, torch.zeros_like(step))

    return fit


def _affine(top: int) -> Fit:
    def fit(x: Tensor, w: Tensor) -> Scales:
        step, offset = search_step_offset(x, w, top, offset_at_most_zero=False)
        return Scales(half(step)[:, None], half(offset)[:, None])

    return fit


def _fit_power_of_two(x: Tensor, w: Tensor) -> Scales:
    """The best power of two for MXFP4, whose rule (OCP Microscaling Formats 1.0) looks at the
    largest weight alone."""
    reach = x.abs().amax(dim=1, keepdim=True) / FP4_LEVELS[-1]
    widest = torch.log2(reach.clamp_min(2.0**LEAST_EXPONENT)).ceil()
    zero = torch.zeros_like(widest)
    best, best_error = widest, torch.full_like(widest, torch.inf)
    for move in EXPONENTS_TRIED:
        exponent = (widest + move).clamp(LEAST_EXPONENT, MOST_EXPONENT)
        step = torch.ldexp(torch.ones_like(exponent), exponent.int())
        values = FOUR_FLOAT.values(FOUR_FLOAT.nearest(x, step, zero), step, zero)
        error = (w * (values - x).square()).sum(dim=1, keepdim=True)
        best = torch.where(error < best_error, exponent, best)
        best_error = torch.minimum(error, best_error)
    step = torch.ldexp(torch.ones_like(best), best.int())
    return Scales(step, zero, (best,))


def fp4_nibbles(codes: Tensor) -> Tensor:
    """Codes of FP4_LEVELS as E2M1's four bits, uint8."""
    return torch.tensor(FP4_NIBBLES, dtype=torch.uint8, device=codes.device)[codes.long()]


def pack_mxfp4(codes: Tensor, scales: Scales) -> Tensor:
    (exponent,) = scales.stored
    # Half of what an E8M0 byte says, whose bias is 127, since levels are doubled.
    return torch.cat([(exponent + 128).to(torch.uint8), nibbles(fp4_nibbles(codes))], dim=1)


def _packer(bits: int, bias: int, *, has_offset: bool) -> Pack:
    def pack(codes: Tensor, scales: Scales) -> Tensor:
        parts = [half_bytes(scales.step[:, 0])]
        if has_offset:
            parts.append(half_bytes(scales.offset[:, 0]))
        if bits == 8:
            return torch.cat([*parts, codes.to(torch.int8).view(torch.uint8)], dim=1)
        unsigned = (codes + bias).to(torch.uint8)
        if bits == 5:
            parts.append(fifth_bits(unsigned))
        return torch.cat([*parts, nibbles(unsigned & 15)], dim=1)

    return pack


def _grid(name: str, codes: Codes, fit: Fit, pack: Pack) -> Grid:
    return Grid(name, codes, BLOCK, BLOCK, fit, pack=pack)


BYTE, FOUR, FIVE = Codes(-127, 127), Codes(-8, 7), Codes(-16, 15)
FOUR_UP, FIVE_UP, FOUR_CURVED = Codes(0, 15), Codes(0, 31), Codes(0, 15, IQ4_NL_LEVELS)
FOUR_FLOAT = Codes(0, 14, FP4_LEVELS)

SIMPLE_GRIDS = {
    grid.name: grid
    for grid in (
        # -128 is left out: x86 kernels flip signs in 8 bits, where it has no opposite.
        _grid("Q8_0", BYTE, _symmetric(BYTE), _packer(8, 0, has_offset=False)),
        _grid("Q4_0", FOUR, _symmetric(FOUR), _packer(4, 8, has_offset=False)),
        _grid("Q4_1", FOUR_UP, _affine(15), _packer(4, 0, has_offset=True)),
        _grid("Q5_0", FIVE, _symmetric(FIVE), _packer(5, 16, has_offset=False)),
        _grid("Q5_1", FIVE_UP, _affine(31), _packer(5, 0, has_offset=True)),
        _grid("IQ4_NL", FOUR_CURVED, _symmetric(FOUR_CURVED), _packer(4, 0, has_offset=False)),
        _grid("MXFP4", FOUR_FLOAT, _fit_power_of_two, pack_mxfp4),
    )
}
