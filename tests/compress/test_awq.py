"""AWQ: the model stays the same function, and rounding hurts it less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.compress.awq import awq_method, find_folds, search_scale
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.destination import Destination
from edgecomp.compress.grids import integer_grid
from edgecomp.compress.rtn import round_to_nearest
from edgecomp.models.huggingface.model import stored_tensors

from .conftest import FAMILIES, Save
from .test_gptq import hessian_of, loss, weights
from .test_packed_triangle import triangle_of


@pytest.mark.parametrize("family", FAMILIES)
def test_folding_leaves_the_function_of_every_family_unchanged(
    family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, model = save_model(family)
    folded: set[str] = set()
    linears: set[str] = set()

    def fold_any_scale(block: Block) -> None:
        for groups, fold in find_folds(block):
            names = [name for group in groups for name in group]
            columns = block.linears[names[0]].weight.shape[1]
            random = torch.Generator().manual_seed(columns)
            scale = fold.tie(torch.exp(torch.randn(columns, generator=random)))
            fold.apply(scale)
            for name in names:
                block.linears[name].weight.mul_(scale)
            folded.update(names)
        linears.update(block.linears)

    walk(folder, tokens, fold_any_scale, destination=Destination(folder=tmp_path / "out"))
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        torch.testing.assert_close(
            written(tokens).logits, model(tokens).logits, rtol=1e-4, atol=1e-5
        )
    # GPT-2's GELU stands between its two FFN matrices: nothing can be folded there.
    assert folded == linears - ({"mlp.c_proj"} if family == "gpt2" else set())


@pytest.mark.parametrize("kind", ["random", "correlated"])
def test_the_scale_search_is_as_good_as_upstreams_which_tries_all(kind: str) -> None:
    weight, hessian = weights(), hessian_of(kind)
    grid = integer_grid(3, 64, symmetric=True)

    def loss_of(scale: Tensor) -> float:
        rounded = round_to_nearest(weight * scale, grid, hessian.diagonal() / scale.square())
        return loss(weight, rounded.values / scale, hessian)

    candidates = []
    for alpha in [0.05 * i for i in range(20)]:
        scale = hessian.diagonal().sqrt() ** alpha
        candidates.append(loss_of(scale / (scale.max() * scale.min()).sqrt()))
    found = loss_of(search_scale({grid: weight}, triangle_of(hessian), lambda scale: scale))
    assert found <= 1.001 * min(candidates)
    assert found <= candidates[0]  # alpha = 0 is plain rounding


def test_linears_of_one_input_are_weighed_each_on_its_own_grid() -> None:  # A18
    """As when the first of them gets 8 bits and the others 2."""
    hessian = hessian_of("correlated")
    parts = {
        integer_grid(8, 64, symmetric=True): weights(),
        integer_grid(2, 64, symmetric=True): weights().flip(0),
    }

    def loss_of(scale: Tensor) -> float:
        means = hessian.diagonal() / scale.square()
        return sum(
            loss(part, round_to_nearest(part * scale, grid, means).values / scale, hessian)
            for grid, part in parts.items()
        )

    found = loss_of(search_scale(parts, triangle_of(hessian), lambda scale: scale))
    scales = [hessian.diagonal().sqrt() ** (0.05 * i) for i in range(20)]
    best = min(loss_of(scale / (scale.max() * scale.min()).sqrt()) for scale in scales)
    assert found <= 1.001 * best


def test_weights_that_are_kept_are_not_even_scaled(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    """Neither by the norm before them nor by what reads their rows; other scales are folded."""
    folder, _ = save_model("llama")
    grid = integer_grid(3, 32, symmetric=True)
    kept = ("self_attn.v_proj.weight", "mlp.down_proj.weight")

    def is_kept(weight: str) -> bool:
        return weight.endswith(kept)

    method = awq_method(lambda name: None if is_kept(name) else grid, is_kept=is_kept)
    walk(folder, tokens, method, destination=Destination(folder=tmp_path / "out"))
    before, after = stored_tensors(folder), stored_tensors(tmp_path / "out")

    def same(role: str) -> bool:
        name = f"model.layers.0.{role}.weight"
        old, new = read_tensor(before[name]).float(), read_tensor(after[name]).float()
        return torch.equal(old, new)

    assert same("self_attn.v_proj") and same("mlp.down_proj") and same("input_layernorm")
    assert not same("post_attention_layernorm") and not same("self_attn.q_proj")


def test_a_linear_that_stays_float_does_not_keep_the_others_from_being_scaled(  # A18
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    grid = integer_grid(3, 32, symmetric=True)
    method = awq_method(lambda name: None if "q_proj" in name else grid)
    walk(folder, tokens, method, destination=Destination(folder=tmp_path / "out"))
    name = "model.layers.0.input_layernorm.weight"
    before, after = (
        read_tensor(stored_tensors(place)[name]).float() for place in (folder, tmp_path / "out")
    )
    assert not torch.allclose(before, after, rtol=1e-3)
