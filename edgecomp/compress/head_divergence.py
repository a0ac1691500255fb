"""What a change of the output head, or of the states that enter it, does to the next token.

KL(p || q) = ln E_p[exp d] - E_p[d], where d is the change of the logits: half its variance under p
where it is small, the quadratic form of the softmax's Fisher information. Written by changes, it
keeps its digits where p and q are nearly the same. Changes are told from that of the likeliest
token: what moves all logits alike moves no probability, and may be larger than what a float holds
the exponential of. The head is read some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from edgecomp.compress.checkpoint import read_rows
from edgecomp.models.safetensors_header import StoredTensor

ROWS = 4096
"""Rows of the head in memory at a time."""

LARGEST_CHANGE = 80.0
"""Largest change of a logit: its exponential is still a float32."""


class Head(NamedTuple):
    """An output head [vocabulary, width] as stored, and the soft cap of its logits (Gemma 2)."""

    stored: StoredTensor
    cap: float | None

    def slices(self, device: torch.device) -> Iterator[Tensor]:
        """Its rows float32 [at most ROWS, width], in order."""
        total = self.stored.shape[0]
        for first in range(0, total, ROWS):
            rows = torch.arange(first, min(first + ROWS, total))
            yield read_rows(self.stored, rows).to(device, torch.float32)

    def logits(self, states: Tensor, weight: Tensor) -> Tensor:
        """Logits under the rows `weight` for states [n, width]: float32 [n, rows]."""
        logits = states @ weight.T
        return self._capped(logits)

    def logits_of(self, states: Tensor, rows: Tensor) -> Tensor:
        """The logit of one row [n, width] for each of states [n, width]: float32 [n]."""
        return self._capped((states * rows).sum(dim=-1))

    def slope(self, logits: Tensor) -> Tensor:
        """By how much capped `logits` change with those before the cap; same shape."""
        return 1 - (logits / self.cap).square() if self.cap else torch.ones_like(logits)

    def _capped(self, logits: Tensor) -> Tensor:
        return self.cap * torch.tanh(logits / self.cap) if self.cap else logits


def divergences(
    head: Head,
    states: Tensor,
    changed_states: Mapping[str, Tensor],
    changed_heads: Mapping[str, Callable[[Tensor], Tensor]],
) -> dict[str, float]:
    """The mean KL in nats of the model as it is from each changed one, by its key.

    states: float32 [n, width], what enters the head; `changed_states` stand in their place,
    `changed_heads` map rows of the head to others.
    """
    normalizer, likeliest = _normalizer(head, states)
    different, place = torch.unique(likeliest.cpu(), return_inverse=True)
    rows = read_rows(head.stored, different)[place].to(states.device, torch.float32)
    at_likeliest = head.logits_of(states, rows)
    shifts = {key: head.logits_of(other, rows) for key, other in changed_states.items()}
    shifts |= {key: head.logits_of(states, rounded(rows)) for key, rounded in changed_heads.items()}
    zero = torch.zeros(len(states), dtype=torch.float64, device=states.device)
    means, growths = (
        {key: zero.clone() for key in (*changed_states, *changed_heads)} for _ in "mg"
    )
    for weight in head.slices(states.device):
        logits = head.logits(states, weight)
        probabilities = (logits - normalizer[:, None]).exp()

        def add(key: str, changed: Tensor, base: Tensor, p: Tensor) -> None:
            shift = shifts[key] - at_likeliest
            change = (changed - base - shift[:, None]).clamp_max(LARGEST_CHANGE)
            means[key] += (p * change).sum(dim=-1, dtype=torch.float64)
            growths[key] += (p * change.expm1()).sum(dim=-1, dtype=torch.float64)

        for key, other in changed_states.items():
            add(key, head.logits(other, weight), logits, probabilities)
        for key, rounded in changed_heads.items():
            add(key, head.logits(states, rounded(weight)), logits, probabilities)
    return {key: float((growths[key].log1p() - means[key]).mean().clamp_min(0)) for key in means}


def gradient_of_drawn(head: Head, states: Tensor, uniform: Tensor) -> Tensor:
    """The gradient of -ln p(token) by each of states float32 [n, width], for a token that `uniform`
    float64 [n], in [0, 1), draws from p; same shape."""
    normalizer, drawn = _normalizer(head, states)
    below = torch.zeros_like(uniform)
    gradient = torch.zeros_like(states)
    first = 0
    for weight in head.slices(states.device):
        logits = head.logits(states, weight)
        p = (logits - normalizer[:, None]).exp()
        gradient.addmm_(p * head.slope(logits), weight)
        above = below + p.sum(dim=-1, dtype=torch.float64)
        here = ((below <= uniform) & (uniform < above)).nonzero().flatten()
        steps = p[here].cumsum(dim=-1, dtype=torch.float64)
        place = torch.searchsorted(steps, (uniform - below)[here, None], right=True)[:, 0]
        drawn[here] = place.clamp_max(len(weight) - 1) + first
        below = above
        first += len(weight)
    different, place = torch.unique(drawn.cpu(), return_inverse=True)
    rows = read_rows(head.stored, different)[place].to(states.device, torch.float32)
    return gradient - rows * head.slope(head.logits_of(states, rows))[:, None]


def _normalizer(head: Head, states: Tensor) -> tuple[Tensor, Tensor]:
    """For each state [n, width] the logarithm of its logits' summed exponentials, float32 [n], and
    the row of the largest, int64 [n]."""
    normalizer = torch.full((len(states),), -torch.inf, device=states.device)
    largest, likeliest = normalizer.clone(), torch.zeros_like(normalizer, dtype=torch.int64)
    first = 0
    for weight in head.slices(states.device):
        logits = head.logits(states, weight)
        normalizer = torch.logaddexp(normalizer, logits.logsumexp(dim=-1))
        value, row = logits.max(dim=-1)
        likeliest = torch.where(value > largest, row + first, likeliest)
        largest = torch.maximum(value, largest)
        first += len(weight)
    return normalizer, likeliest
