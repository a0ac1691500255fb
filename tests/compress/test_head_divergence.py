"""Divergence at the head: the KL of the full distributions, exact where it is all but zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from edgecomp.compress import head_divergence
from edgecomp.compress.head_divergence import Head, divergences
from edgecomp.models.safetensors_header import read_safetensors_header


@pytest.mark.parametrize("size", [1e-4, 0.1, 2.0])
@pytest.mark.parametrize("cap", [None, 5.0])
def test_it_is_the_kl_of_the_whole_vocabulary_however_the_head_is_cut(
    size: float, cap: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    weight, states = torch.randn(97, 16, generator=random), torch.randn(5, 16, generator=random)
    other = states + size * torch.randn(5, 16, generator=random)
    save_file({"head": weight}, tmp_path / "head.safetensors")
    head = Head(read_safetensors_header(tmp_path / "head.safetensors")["head"], cap)
    monkeypatch.setattr(head_divergence, "ROWS", 40)
    found = divergences(head, states, {"states": other}, {"head": lambda rows: rows * (1 + size)})

    def log_softmax(inputs: Tensor, rows: Tensor) -> Tensor:
        logits = inputs.double() @ rows.double().T
        return (cap * torch.tanh(logits / cap) if cap else logits).log_softmax(-1)

    plain = log_softmax(states, weight)
    for key, changed in {
        "states": log_softmax(other, weight),
        "head": log_softmax(states, weight * (1 + size)),
    }.items():
        expected = (plain.exp() * (plain - changed)).sum(-1).mean()
        assert found[key] == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize("moved", [-60.0, 60.0, 300.0])
def test_what_moves_all_logits_alike_moves_no_probability(moved: float, tmp_path: Path) -> None:
    """Gemma 3 270M: rounding its embedding moves all logits of a token by dozens."""
    random = torch.Generator().manual_seed(0)
    weight, states = torch.randn(97, 16, generator=random), torch.randn(5, 16, generator=random)
    weight[:, 0] = 1.0
    other = states + 0.1 * torch.randn(5, 16, generator=random)
    save_file({"head": weight}, tmp_path / "head.safetensors")
    head = Head(read_safetensors_header(tmp_path / "head.safetensors")["head"], None)
    shifted = other + torch.tensor([moved] + 15 * [0.0])
    found = divergences(head, states, {"plain": other, "moved": shifted}, {})
    assert found["plain"] > 1e-3
    assert found["moved"] == pytest.approx(found["plain"], rel=1e-3)
