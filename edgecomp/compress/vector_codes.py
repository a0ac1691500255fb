"""Codes that are chosen some neighbouring columns at a time: magnitudes from a codebook, and signs.

GGUF's IQ2 and IQ3 types keep the magnitudes of 8 or 4 columns as the number of a row of a codebook,
and the signs of 8 columns in 8 bits, or in 7 where their number of minus signs is even. A code here
is a column's signed magnitude, so that a value is `step * code` as on any other grid.

Under error feedback what n columns cost is the square of (t - v) M, for t what they would best be,
v their values and M their block of the factor (sweep.py): (u - c)^T Q (u - c) in units of the step,
with Q = M M^T, the same for all rows. Magnitudes are the best of the whole codebook for the signs
at hand, signs the best of all for the magnitudes, each found in one matrix product; both in turn. A
test holds what comes out against a search of everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import gguf.quants
import torch
from torch import Tensor

SIGNED = 8
"""Columns whose signs are stored together."""

TURNS = 1
"""How often signs and then magnitudes are chosen anew: more, or another start, brought nothing."""

CHUNK_ELEMENTS = 1 << 18
"""Of a product with a codebook, at once."""


class Codebook(NamedTuple):
    """magnitudes: float32 [rows, width]; squares: of them; pairs: products of unlike columns,
    float32 [rows, pairs]."""

    magnitudes: Tensor
    squares: Tensor
    pairs: Tensor


@lru_cache
def codebook(kind: str, device: torch.device) -> Codebook:
    """The codebook of a GGUF type, as gguf-py has it."""
    source = getattr(gguf.quants, kind)
    source.init_grid()
    magnitudes = torch.from_numpy(source.grid.copy()).float().flatten(0, 2).to(device)
    first, second = _pairs(magnitudes.shape[1], device)
    pairs = magnitudes[:, first] * magnitudes[:, second]
    return Codebook(magnitudes, magnitudes.square(), pairs)


@lru_cache
def _pairs(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The pairs of unlike columns, the lesser first."""
    first, second = torch.triu_indices(width, width, offset=1, device=device)
    return first, second


@dataclass(frozen=True)
class VectorCodes:
    """The codes of a type: `width` columns share a row of its codebook."""

    kind: str
    width: int
    even_signs: bool
    """Whether an even number of each 8 columns is negative."""

    def values(self, codes: Tensor, step: Tensor, offset: Tensor) -> Tensor:
        """What codes stand for, float32."""
        return step * codes.float() + offset

    def nearest(self, x: Tensor, step: Tensor, offset: Tensor, weights: Tensor) -> Tensor:
        """Codes int16 that nearly minimise sum_j w_j (x_j - value_j)^2: x [n, columns], the others
        of shapes that broadcast to it. The best but for which sign gives way where it must."""
        divisor = torch.where(step == 0, torch.inf, step)
        scaled = ((x - offset) / divisor).view(-1, SIGNED)
        shared = weights.shape[0] == 1
        w = weights.expand(x.shape if not shared else weights.shape).reshape(-1, SIGNED)
        if shared:
            w = w.repeat(len(x), 1)
        signs = self._signs(scaled, w)
        along = (scaled * signs).view(-1, self.width)
        rows = self._best_rows(along, w.view(-1, self.width))
        magnitudes = codebook(self.kind, x.device).magnitudes[rows].view(-1, SIGNED)
        return (magnitudes * signs).view(x.shape).to(torch.int16)

    def _signs(self, scaled: Tensor, weights: Tensor) -> Tensor:
        """±1 for scaled [n, 8]: their own, but for one that costs little where minus is odd."""
        signs = torch.where(scaled < 0, -1.0, 1.0)
        if self.even_signs:
            cheapest = (weights * scaled).abs().argmin(dim=1, keepdim=True)
            signs.scatter_(1, cheapest, signs.gather(1, cheapest) * signs.prod(1, keepdim=True))
        return signs

    def _best_rows(self, along: Tensor, weights: Tensor) -> Tensor:
        """The codebook's rows nearest to `along` [n, width] under weights [n, width]."""
        book = codebook(self.kind, along.device)
        ones = torch.ones_like(book.squares[:, :1])
        table = torch.cat([ones, -2 * book.magnitudes, book.squares], dim=1).T.contiguous()
        along_weighted = weights * along
        whole = (along_weighted * along).sum(dim=1, keepdim=True)
        return _least(torch.cat([whole, along_weighted, weights], dim=1), table)

    def choose(self, free: Tensor, form: Tensor) -> Tensor:
        """Codes float32 [n, 8] that nearly minimise (u - c)^T Q (u - c), u `free` [n, 8] in steps
        and Q `form` [8, 8]."""
        codes = self.nearest(free, *_no_scale(free), form.diagonal()[None]).float()
        for turn in range(TURNS + 1):
            if turn:
                self._put_signs(codes, free, form)
            for start in range(0, SIGNED, self.width):
                self._put_magnitudes(codes, free, form, slice(start, start + self.width))
        return codes

    def _put_magnitudes(self, codes: Tensor, free: Tensor, form: Tensor, part: slice) -> None:
        """The best magnitudes of some columns, given their signs and all other codes."""
        book = codebook(self.kind, codes.device)
        first, second = _pairs(self.width, codes.device)
        signs = torch.where(codes[:, part] < 0, -1.0, 1.0)
        others = codes.clone()
        others[:, part] = 0
        left, own = free - others, form[part, part]
        pull = left @ form
        whole = (pull * left).sum(dim=1, keepdim=True)
        crossed = signs[:, first] * signs[:, second] * own[first, second]
        one = torch.ones_like(whole)
        features = torch.cat([whole, one, pull[:, part] * signs, crossed], dim=1)
        base = (book.squares @ own.diagonal())[:, None]
        parts = [torch.ones_like(base), base, -2 * book.magnitudes, 2 * book.pairs]
        table = torch.cat(parts, dim=1).T.contiguous()
        codes[:, part] = book.magnitudes[_least(features, table)] * signs

    def _put_signs(self, codes: Tensor, free: Tensor, form: Tensor) -> None:
        """The best signs of all, given the magnitudes."""
        first, second = _pairs(SIGNED, codes.device)
        signs, products = _sign_patterns(codes.device, even=self.even_signs)
        magnitudes = codes.abs()
        pull = free @ form
        whole = magnitudes.square() @ form.diagonal() + (pull * free).sum(dim=1)
        crossed = magnitudes[:, first] * magnitudes[:, second] * form[first, second]
        features = torch.cat([whole[:, None], pull * magnitudes, crossed], dim=1)
        ones = torch.ones_like(signs[:, :1])
        table = torch.cat([ones, -2 * signs, 2 * products], dim=1).T.contiguous()
        codes.copy_(magnitudes * signs[_least(features, table)])


def _no_scale(like: Tensor) -> tuple[Tensor, Tensor]:
    return like.new_ones(1, 1), like.new_zeros(1, 1)


@lru_cache
def _sign_patterns(device: torch.device, *, even: bool) -> tuple[Tensor, Tensor]:
    """Every choice of 8 signs, or those with an even number of minus signs, ±1: float32 [256, 8] or
    [128, 8]; and the products of each pair: float32 [256, 28] or [128, 28]."""
    numbers = torch.arange(1 << SIGNED, device=device)
    signs = 1.0 - 2.0 * (numbers[:, None] >> torch.arange(SIGNED, device=device) & 1)
    if even:
        signs = signs[signs.prod(dim=1) > 0]
    first, second = _pairs(SIGNED, device)
    return signs, signs[:, first] * signs[:, second]


def _least(features: Tensor, table: Tensor) -> Tensor:
    """The column of features @ table, whose elements are not negative, that is least in each row.

    Floats above zero are in the order of their bits: with the number of the column in the lowest
    of them, one minimum finds it, several times as fast as argmin. Elements nearer than 1e-4 of
    themselves may stand for each other.
    """
    columns = table.shape[1]
    numbers = torch.arange(columns, dtype=torch.int32, device=table.device)
    rows = max(1, CHUNK_ELEMENTS // columns)
    product = features.new_empty(min(rows, len(features)), columns)
    found = []
    for part in torch.split(features, rows):
        own = product[: len(part)]
        torch.mm(part, table, out=own)
        bits = own.view(torch.int32).bitwise_and_(-columns).bitwise_or_(numbers)
        found.append(bits.amin(dim=1))
    return torch.cat(found).bitwise_and_(columns - 1)
