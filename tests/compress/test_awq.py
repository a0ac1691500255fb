"""AWQ: the model stays the same function, and rounding hurts it less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.compress.awq import find_folds, search_scale
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.grids import integer_grid
from edgecomp.compress.rtn import round_to_nearest

from .conftest import FAMILIES, Save
from .test_gptq import hessian_of, loss, weights
from .test_triangle import triangle_of


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

    walk(folder, tokens, fold_any_scale, destination=tmp_path / "out")
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
    found = loss_of(search_scale(weight, triangle_of(hessian), grid, lambda scale: scale))
    assert found <= 1.001 * min(candidates)
    assert found <= candidates[0]  # alpha = 0 is plain rounding
