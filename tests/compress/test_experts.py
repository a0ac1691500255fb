"""Experts are compressed by the tokens routed to each, and where few or none were, all the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgecomp.compress import blocks
from edgecomp.compress.blocks import Block, Method, walk
from edgecomp.compress.checkpoint import read_tensor
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_grids import SIMPLE_GRIDS
from edgecomp.compress.gguf_types import grids_of_types
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.hessian import gather_hessians
from edgecomp.compress.importance import compute_importance
from edgecomp.compress.magnitude import magnitude_method
from edgecomp.compress.packed import read_packed_index
from edgecomp.compress.routed import PRIOR_TOKENS
from edgecomp.compress.rtn import mean_squares, round_to_nearest, rtn
from edgecomp.compress.sensitivity import measure_sensitivities
from edgecomp.compress.sparsegpt import sparsegpt_method
from edgecomp.compress.wanda import wanda_method
from edgecomp.making.expert_use import expert_use
from edgecomp.models.huggingface.model import stored_tensors
from edgecomp.recipes.sparsity import parse_sparsity

from .conftest import MIXTURES, Save
from .test_packed_triangle import dense

GRID = SIMPLE_GRIDS["Q4_0"]
HALF = parse_sparsity("50%")


def weights(folder: Path) -> dict[str, Tensor]:
    return {name: read_tensor(stored) for name, stored in stored_tensors(folder).items()}


def seen_by(folder: Path, tokens: Tensor) -> Counter[str]:
    """How many tokens reach the matrices of each expert of block 0."""
    counts: Counter[str] = Counter()

    def count(block: Block) -> None:
        if block.index == 0:
            block.observe(
                {
                    n: lambda x, n=n: counts.update({n: len(x)})
                    for n in block.linears
                    if ".experts." in n
                }
            )

    walk(folder, tokens, count)
    return counts


@pytest.mark.parametrize("family", MIXTURES)
def test_every_expert_is_watched_and_grouped_though_one_sample_reaches_few(
    family: str, save_model: Save, tokens: Tensor
) -> None:
    folder, _ = save_model(family)
    gate, up, down = (
        ("w1", "w3", "w2") if family == "mixtral" else ("gate_proj", "up_proj", "down_proj")
    )
    groups: list[tuple[str, ...]] = []
    walk(folder, tokens[:1, :2], lambda block: groups.extend(block.shared_inputs()))
    for expert in range(6):
        prefix = f"mlp.experts.{expert}"
        assert groups.count((f"{prefix}.{gate}", f"{prefix}.{up}")) == 3
        assert groups.count((f"{prefix}.{down}",)) == 3


@pytest.mark.parametrize("method", ["rtn", "gptq"])
def test_an_expert_that_no_token_reached_is_rounded_to_nearest_with_unit_importance(
    method: str, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("qwen3moe")
    few = tokens[:1, :2]  # two tokens, two experts each: of six at least two see none
    counts = seen_by(folder, few)
    unseen = [name for name, count in counts.items() if not count]
    assert len(unseen) >= 6
    methods: dict[str, Method] = {
        "rtn": rtn(lambda name: GRID, use_importance=True),
        "gptq": gptq_method(lambda name: GRID),
    }
    walk(
        folder,
        few,
        methods[method],
        destination=Destination(folder=tmp_path / "out", dtype=torch.float32),
    )
    before, after = weights(folder), weights(tmp_path / "out")
    for name in unseen:
        stored = f"model.layers.0.{name}.weight"
        expected = round_to_nearest(before[stored], GRID).values
        assert torch.equal(after[stored], expected), name


def test_the_prior_fades_with_the_tokens_that_reached_an_expert(
    save_model: Save, tokens: Tensor
) -> None:
    folder, _ = save_model("qwen3moe")
    counts = seen_by(folder, tokens)

    def check(block: Block) -> None:
        if block.index:
            return
        inputs: dict[str, Tensor] = {}
        block.observe({n: lambda x, n=n: inputs.__setitem__(n, x) for n in block.linears})
        means = mean_squares(block)
        for group, hessian in gather_hessians(block):
            x = inputs[group[0]]
            torch.testing.assert_close(hessian.diagonal(), means[group[0]])
            total = hessian.diagonal().mean() * block.tokens
            if ".experts." not in group[0]:
                torch.testing.assert_close(total, x.square().sum(dim=0).mean())
            elif counts[group[0]]:
                share = (counts[group[0]] + PRIOR_TOKENS) / counts[group[0]]
                torch.testing.assert_close(total, x.square().sum(dim=0).mean() * share)

    walk(folder, tokens, check)


def test_a_weighted_token_counts_so_in_the_experts_it_was_routed_to(
    save_model: Save, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = save_model("qwen3moe")
    # Several batches, so that a batch's tokens are not taken for the calibration's first.
    monkeypatch.setattr(blocks, "TOKENS_PER_BATCH", 2 * tokens.shape[1])
    counts = torch.zeros(tokens.numel())
    counts[-tokens.shape[1] :] = 1  # of all samples, only the last counts

    def check(block: Block) -> None:
        if block.index:
            return
        inputs: dict[str, list[Tensor]] = {}
        weighted = dict(gather_hessians(block, counts))
        block.hidden = block.hidden[-1:]
        block.observe(
            {g[0]: lambda x, n=g[0]: inputs.setdefault(n, []).append(x) for g in weighted}
        )
        for group, hessian in weighted.items():
            expected = sum(x.T @ x for x in inputs[group[0]]) / tokens.numel()
            off = ~torch.eye(hessian.size, dtype=torch.bool)  # the prior is on the diagonal
            torch.testing.assert_close(dense(hessian)[off], expected[off])

    walk(folder, tokens, check)


@pytest.mark.parametrize("family", MIXTURES)
@pytest.mark.parametrize("method", [wanda_method, sparsegpt_method, magnitude_method])
def test_pruning_halves_every_expert_and_leaves_routers_and_gates(
    family: str, method: object, save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model(family)
    walk(folder, tokens[:2], method(HALF), destination=Destination(folder=tmp_path / "out"))  # type: ignore[operator]
    before, after = weights(folder), weights(tmp_path / "out")
    experts = [name for name in after if ".experts." in name]
    assert len(experts) == 3 * 6 * 3
    for name in experts:
        assert float((after[name] == 0).float().mean()) == pytest.approx(0.5, abs=0.01), name
    gates = [name for name in after if name.endswith(("gate.weight", "shared_expert_gate.weight"))]
    assert len(gates) == (6 if family == "qwen2moe" else 3)
    assert all(torch.equal(after[name], before[name]) for name in gates)


def test_all_experts_of_a_kind_are_one_tensor_with_one_type_and_the_sum_of_their_losses(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("qwen2moe")
    found = measure_sensitivities(folder, tokens, ("Q4_0", "Q8_0"))
    by_name = {tensor.name: tensor for tensor in found.tensors}
    inside = [name for name in by_name if name.startswith("blk.")]
    assert len(inside) == 3 * (4 + 3 + 3) and len(by_name) == len(found.tensors)
    for layer in range(3):
        tensor = by_name[f"blk.{layer}.ffn_down_exps.weight"]
        assert tensor.elements == 6 * 64 * 32
        assert 0 < tensor.losses["Q8_0"] < tensor.losses["Q4_0"]
    assert not any("ffn_gate_inp" in name for name in by_name)
    types = {name: "Q8_0" if "down_exps" in name else "Q4_0" for name in inside}
    method = gptq_method(grids_of_types(folder, types))
    walk(
        folder,
        tokens,
        method,
        destination=Destination(folder=tmp_path / "out", dtype=torch.float32),
    )
    index = read_packed_index(tmp_path / "out")
    assert index is not None
    assert {name: entry.type for name, entry in index.tensors.items()} == types


def test_r31_experts_that_the_calibration_seldom_reached_are_counted(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("qwen3moe")
    compute_importance(folder, tokens[:1, :2], tmp_path / "few.gguf")
    use = expert_use(tmp_path / "few.gguf")
    assert use is not None
    assert (use.experts, use.seldom) == (18, 18)
    assert 6 <= use.unseen < 18
    assert f"({use.unseen} saw none)" in use.sentence
    dense, _ = save_model("llama")
    compute_importance(dense, tokens[:1], tmp_path / "dense.gguf")
    assert expert_use(tmp_path / "dense.gguf") is None


def fuse_stored_experts(folder: Path, model: Any) -> None:
    """Store the experts as transformers has them in memory: two tensors a layer."""
    file = folder / "model.safetensors"
    tensors = {n: t for n, t in load_file(file).items() if ".experts." not in n}
    tensors |= {n: t for n, t in model.state_dict().items() if ".experts." in n}
    save_file(tensors, file)


def solved_experts(folder: Path, tokens: Tensor) -> dict[str, Tensor]:
    """The experts' matrices after GPTQ, by name."""
    method = gptq_method(lambda name: GRID)
    found: dict[str, Tensor] = {}

    def solve(block: Block) -> None:
        method(block)
        linears = {block.weight_name(name): linear for name, linear in block.linears.items()}
        found.update({n: m.weight.clone() for n, m in linears.items() if ".experts." in n})

    walk(folder, tokens, solve)
    return found


def test_experts_stored_fused_are_solved_as_those_stored_one_by_one(
    save_model: Save, tokens: Tensor
) -> None:
    folder, model = save_model("qwen3moe")
    apart = solved_experts(folder, tokens)
    fuse_stored_experts(folder, model)
    fused = solved_experts(folder, tokens)
    assert (len(apart), len(fused)) == (3 * 6 * 3, 3 * 6 * 2)
    for layer in range(3):
        prefix = f"model.layers.{layer}.mlp.experts"
        for expert in range(6):
            gate, up, down = (
                apart[f"{prefix}.{expert}.{role}_proj.weight"] for role in ("gate", "up", "down")
            )
            gate_up = fused[f"{prefix}.gate_up_proj[{expert}]"]
            torch.testing.assert_close(gate_up, torch.cat([gate, up]))
            torch.testing.assert_close(fused[f"{prefix}.down_proj[{expert}]"], down)


@pytest.mark.parametrize("name", ["granitemoe", "gpt_oss", "llama4_text"])
def test_each_expert_of_a_fused_tensor_sees_its_own_tokens(
    name: str, tiny_family: Callable[[str], Path]
) -> None:
    tokens = torch.randint(5, 500, (4, 32), generator=torch.Generator().manual_seed(0))
    seen: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    def watch(block: Block) -> None:
        experts = [n for n in block.linears if ".experts." in n]
        counts: Counter[str] = Counter()
        block.observe({n: lambda x, n=n: counts.update({n: len(x)}) for n in experts})
        for linear in experts:
            seen[block.weight_name(linear)] = counts[linear]
            shapes[block.weight_name(linear)] = tuple(block.linears[linear].weight.shape)

    walk(tiny_family(name), tokens, watch)
    layers, used = 2, 1 if name == "llama4_text" else 2
    first = [name for name in seen if shapes[name] == (1024, 256)]
    second = [name for name in seen if shapes[name] == (256, 512)]
    assert (len(first), len(second)) == (4 * layers, 4 * layers)
    for names in (first, second):
        assert sum(seen[name] for name in names) == layers * used * tokens.numel()
        assert len({seen[name] for name in names}) > 1
