"""Token weights: gradients block by block are the whole model's, and weigh what they should."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edgecomp.compress import blocks, token_weights
from edgecomp.compress.awq import awq_method
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_grids import SIMPLE_GRIDS
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.in_order import hessians_in_order
from edgecomp.compress.token_weights import measure_token_weights, squared_gradients, stored_weights

from .conftest import Save
from .test_blocks import folder_bytes
from .test_packed_triangle import dense

THREE = ["llama", "gemma3", "qwen3moe"]


@pytest.fixture(autouse=True)
def in_several_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples a batch, and of two models less than all six samples at a time."""
    monkeypatch.setattr(blocks, "TOKENS_PER_BATCH", 24)
    monkeypatch.setattr(token_weights, "STATES_BYTES", 4 * 4 * 12 * 64 * 3)


def drawn_tokens(logits: Tensor) -> Tensor:
    """What the model says next, drawn as it is documented: one uniform number a token."""
    random = torch.Generator().manual_seed(0)
    uniform = torch.rand(logits.shape[:2], generator=random, dtype=torch.float64)
    steps = logits.detach().double().softmax(-1).cumsum(-1)
    return torch.searchsorted(steps, uniform[..., None], right=True)[..., 0]


def note(squares: dict[str, Tensor], name: str, module: nn.Module, _: Any, output: Tensor) -> None:
    output.register_hook(
        lambda g: squares.__setitem__(name, g.flatten(0, -2).square().mean(dim=-1))
    )


@pytest.mark.parametrize("family", [*THREE, "gemma2", "gpt2"])
def test_gradients_block_by_block_are_those_of_the_whole_model(
    family: str, save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model(family)
    found = squared_gradients(folder, tokens)
    expected: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if f"{name}.weight" in found:
            module.register_forward_hook(partial(note, expected, f"{name}.weight"))
    logits = model(tokens).logits
    nn.functional.cross_entropy(
        logits.flatten(0, 1), drawn_tokens(logits).flatten(), reduction="sum"
    ).backward()
    assert len(expected) >= 4 * model.config.num_hidden_layers
    for name, squares in expected.items():
        largest = float(squares.max())
        torch.testing.assert_close(found[name], squares, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.parametrize("family", ["qwen3moe", "mixtral"])
def test_gradients_of_experts_are_those_of_their_weights(
    family: str, save_model: Save, tokens: Tensor
) -> None:
    """The gradient of an expert's matrix is the sum of g x^T over the tokens routed to it: without
    bias, and with one input that is set to 1, that of its column is the sum of g."""
    folder, model = save_model(family)
    found = squared_gradients(folder, tokens[:1, :1])
    experts = model.model.layers[0].mlp.experts
    inputs: list[Tensor] = []
    experts.register_forward_pre_hook(lambda module, handed: inputs.append(handed[0].detach()))
    logits = model(tokens[:1, :1]).logits
    nn.functional.cross_entropy(
        logits.flatten(0, 1), drawn_tokens(logits).flatten(), reduction="sum"
    ).backward()
    # One token: the gradient of a matrix is g x^T, whose squares sum to |g|^2 |x|^2.
    size = float(inputs[0].square().sum())
    hidden = experts.down_proj.shape[2]
    names = {"qwen3moe": ("mlp", "gate_proj"), "mixtral": ("block_sparse_moe", "w1")}
    parent, role = names[family]
    reached = 0
    for number, gradient in enumerate(experts.gate_up_proj.grad):
        squares = found[f"model.layers.0.{parent}.experts.{number}.{role}.weight"]
        expected = gradient[:hidden].square().sum() / size / hidden
        if expected == 0:
            assert squares.isnan().all()
        else:
            reached += 1
            torch.testing.assert_close(squares[0], expected, rtol=1e-4, atol=0)
    assert reached == 2


@pytest.mark.parametrize("name", ["gemma4_text", "gpt_oss", "llama4_text"])
def test_families_that_are_called_otherwise_have_gradients_of_every_matrix(
    tiny_family: Callable[[str], Path], name: str
) -> None:
    """Keys that blocks hand on, fused experts with biases, or handed all tokens."""
    folder = tiny_family(name)
    tokens = torch.randint(5, 500, (3, 16), generator=torch.Generator().manual_seed(0))
    found = squared_gradients(folder, tokens)
    linears: list[str] = []
    walk(folder, tokens, lambda block: linears.extend(map(block.weight_name, block.linears)))
    assert set(found) == set(linears)
    for name, squares in found.items():
        reached = squares[~squares.isnan()]
        routes = ".experts." in name or name.endswith("router.weight")
        assert routes or len(reached) == tokens.numel()
        assert (reached >= 0).all() and reached.isfinite().all()
    assert sum(float(squares.nansum()) > 0 for squares in found.values()) > len(found) / 2


@pytest.mark.parametrize("family", THREE)
def test_hessians_are_weighted_sums_over_the_tokens_that_came(
    family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model(family)
    measure_token_weights(folder, tokens, tmp_path / "weights.safetensors")
    stored = load_file(tmp_path / "weights.safetensors")
    weights = stored_weights(tmp_path / "weights.safetensors")

    def method(block: Block) -> None:
        linears = [name for group in block.shared_inputs() for name in group]
        beforehand = gather_hessians(block, weights)
        expected = {name: torch.zeros(h.size, h.size) for (name,), h in beforehand}

        def add(name: str, inputs: Tensor) -> None:
            at = block.tokens_of(name, len(inputs))
            for row, token in zip(inputs, torch.arange(tokens.numel())[at], strict=True):
                weight = stored[block.weight_name(name)][token].float()
                expected[name] += weight * torch.outer(row, row) / tokens.numel()

        block.observe({name: partial(add, name) for name in linears})
        in_order = list(hessians_in_order(block, weights))
        assert [names for names, _ in in_order] == [(name,) for name in linears]
        for ((name,), hessian), (_, same) in zip(in_order, beforehand, strict=True):
            torch.testing.assert_close(dense(hessian), dense(same))
            off = ~torch.eye(hessian.size, dtype=torch.bool)  # the prior is on the diagonal
            torch.testing.assert_close(dense(hessian)[off], expected[name][off])

    walk(folder, tokens, method)


@pytest.mark.parametrize("family", ["llama", "qwen3moe"])
def test_weights_of_one_change_no_byte(
    family: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model(family)
    ones = torch.ones(tokens.numel())
    for name, weights in (("plain", None), ("ones", lambda block, linear: ones)):
        method = gptq_method(lambda linear: SIMPLE_GRIDS["Q4_0"], weights=weights)
        walk(folder, tokens, method, destination=Destination(folder=tmp_path / name))
    assert folder_bytes(tmp_path / "plain") == folder_bytes(tmp_path / "ones")


def test_scales_of_columns_are_searched_for_the_tokens_that_count(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    """Where one sample alone counts, AWQ finds what it finds on that sample."""
    folder, _ = save_model("llama")
    only = torch.zeros(tokens.numel())
    only[: tokens.shape[1]] = tokens.shape[0]
    scales = []
    for rows, weights in ((tokens[:1], None), (tokens, lambda block, linear: only)):
        out = tmp_path / str(len(scales))
        method = awq_method(lambda linear: SIMPLE_GRIDS["Q4_0"], weights=weights)
        walk(folder, rows, method, destination=Destination(folder=out, dtype=torch.float32))
        scales.append(read_norm(out))
    assert not torch.equal(scales[0], torch.ones_like(scales[0]))
    torch.testing.assert_close(scales[0], scales[1])


def read_norm(folder: Path) -> Tensor:
    """The norm of the first block, which takes the inverse of the scales."""
    (file,) = folder.glob("model-00002-of-*.safetensors")
    return load_file(file)["model.layers.0.input_layernorm.weight"]
