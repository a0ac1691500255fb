"""One pass through a block must show each layer what an obvious, slow way shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from edgecomp.common.errors import HessianSingular
from edgecomp.compress import blocks, in_order
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_grids import SIMPLE_GRIDS
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.in_order import hessians_in_order
from edgecomp.compress.sparsegpt import sparsegpt_method
from edgecomp.recipes.sparsity import parse_sparsity

from .conftest import FAMILIES, Save
from .test_blocks import folder_bytes
from .test_packed_triangle import dense


def coarsen(block: Block, names: tuple[str, ...]) -> None:
    for name in names:
        weight = block.linears[name].weight
        weight.copy_((8 * weight).round() / 8)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_is_shown_what_the_layers_before_it_now_put_out(
    family: str, save_model: Save, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "TOKENS_PER_BATCH", 24)
    folder, _ = save_model(family)

    def method(block: Block) -> None:
        inputs = block.hidden.clone()
        found = []
        for names, hessian in hessians_in_order(block):
            coarsen(block, names)
            found.append((names, hessian))
        assert block.advanced
        expected = torch.cat([block.run(batch) for batch in blocks.batches(inputs)])
        assert torch.equal(block.hidden, expected)
        block.hidden.copy_(inputs)
        # All weights are coarse by now: what they read is what they should have been solved for.
        slow = gather_hessians(block)
        assert [names for names, _ in found] == [names for names, _ in slow]
        for (_, hessian), (_, again) in zip(found, slow, strict=True):
            torch.testing.assert_close(dense(hessian), dense(again))
        block.hidden.copy_(expected)

    walk(folder, tokens, method)


def test_beyond_the_limit_statistics_are_gathered_beforehand(
    save_model: Save, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = save_model("llama")
    monkeypatch.setattr(in_order, "WAITING_BYTES", 4 * tokens.numel() * 96 - 1)

    def method(block: Block) -> None:
        slow = gather_hessians(block)
        for (names, hessian), (same, untouched) in zip(hessians_in_order(block), slow, strict=True):
            coarsen(block, names)
            assert names == same
            assert torch.equal(dense(hessian), dense(untouched))
        assert not block.advanced

    walk(folder, tokens, method)


def test_what_runs_on_is_what_was_written_though_the_file_rounds_it(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    """A walk that was killed after the first block reads it back, so bytes would differ."""
    folder, _ = save_model("llama")
    method = sparsegpt_method(parse_sparsity("50%"))

    def killed(block: Block) -> None:
        if block.index == 1:
            raise KeyboardInterrupt
        method(block)

    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    walk(folder, tokens, method, destination=Destination(folder=whole, dtype=torch.bfloat16))
    with pytest.raises(KeyboardInterrupt):
        walk(folder, tokens, killed, destination=Destination(folder=resumed, dtype=torch.bfloat16))
    walk(folder, tokens, method, destination=Destination(folder=resumed, dtype=torch.bfloat16))
    assert folder_bytes(resumed) == folder_bytes(whole)


def test_a_solver_that_fails_midway_leaves_the_block_free_of_hooks(
    save_model: Save, tokens: Tensor
) -> None:
    folder, _ = save_model("llama")
    seen: list[Block] = []
    solve = gptq_method(lambda name: SIMPLE_GRIDS["Q4_0"] if "down" in name else None)

    def method(block: Block) -> None:
        seen.append(block)
        block.linears["mlp.up_proj"].weight.fill_(0)
        solve(block)

    with pytest.raises(HessianSingular, match=r"layers\.0\.mlp\.down_proj"):
        walk(folder, tokens, method)
    assert not any(linear._forward_pre_hooks for linear in seen[0].linears.values())
    seen[0].run(seen[0].hidden)
