"""Bit allocation: exact under the budget, and fed by measured sensitivities."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgecomp.common.errors import CompressionSettingsInvalid, ConstraintsImpossible
from edgecomp.compress import bit_allocation
from edgecomp.compress.bit_allocation import (
    Sensitivities,
    TensorSensitivity,
    allocate,
    named_mix,
)
from edgecomp.compress.blocks import walk
from edgecomp.compress.destination import Destination
from edgecomp.compress.gguf_types import grids_of_types
from edgecomp.compress.gptq import gptq_method
from edgecomp.compress.packed import read_packed_index
from edgecomp.compress.sensitivity import measure_sensitivities
from edgecomp.models.reading import read_model

from .conftest import Save

TYPES = ("Q4_0", "Q5_0", "Q8_0")


def problem(losses: list[list[float]], blocks: list[int]) -> Sensitivities:
    return Sensitivities(
        tensors=tuple(
            TensorSensitivity(
                name=f"t{i}", elements=32 * n, losses=dict(zip(TYPES, row, strict=True))
            )
            for i, (row, n) in enumerate(zip(losses, blocks, strict=True))
        )
    )


def total(sensitivities: Sensitivities, chosen: dict[str, str]) -> tuple[int, float]:
    return (
        sum(t.size_bytes(chosen[t.name]) for t in sensitivities.tensors),
        sum(t.losses[chosen[t.name]] for t in sensitivities.tensors),
    )


@given(
    data=st.lists(
        st.tuples(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), st.integers(1, 50)),
        min_size=1,
        max_size=6,
    ),
    share=st.floats(0, 1),
)
@settings(max_examples=60)
def test_the_choice_is_the_best_of_all_within_the_budget(
    data: list[tuple[list[float], int]], share: float
) -> None:
    sensitivities = problem([row for row, _ in data], [n for _, n in data])
    least = sum(t.size_bytes("Q4_0") for t in sensitivities.tensors)
    most = sum(t.size_bytes("Q8_0") for t in sensitivities.tensors)
    budget = least + int(share * (most - least))
    names = [t.name for t in sensitivities.tensors]
    best = min(
        loss
        for kinds in itertools.product(TYPES, repeat=len(names))
        for size, loss in [total(sensitivities, dict(zip(names, kinds, strict=True)))]
        if size <= budget
    )
    size, loss = total(sensitivities, allocate(sensitivities, budget))
    assert size <= budget
    assert loss <= best + 1e-5


def test_an_impossible_budget_names_the_least_that_works() -> None:
    with pytest.raises(ConstraintsImpossible, match="need 180"):
        allocate(problem([[1, 1, 1]], [10]), 179)
    assert allocate(problem([[1, 1, 1]], [10]), 180) == {"t0": "Q4_0"}


def stopping(monkeypatch: pytest.MonkeyPatch, gap: float) -> list[dict[str, float]]:
    """Let the solver stop at its limit with that gap; what it was told each time."""
    told: list[dict[str, float]] = []
    solve = scipy.optimize.milp

    def stopped(*problem: Any, options: dict[str, float], **named: Any) -> Any:
        told.append(dict(options))
        result = solve(*problem, options=options, **named)
        result.status, result.mip_gap = bit_allocation.STOPPED, gap
        return result

    monkeypatch.setattr(scipy.optimize, "milp", stopped)
    return told


def test_an_allocation_does_not_depend_on_the_speed_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # A11
    told = stopping(monkeypatch, gap=1e-4)
    assert allocate(problem([[1, 1, 1]], [10]), 180) == {"t0": "Q4_0"}
    assert "time_limit" not in told[0] and told[0]["node_limit"] == bit_allocation.MOST_NODES


def test_what_the_solver_stops_at_far_from_the_best_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # A11
    stopping(monkeypatch, gap=0.2)
    with pytest.raises(CompressionSettingsInvalid, match="--mix none"):
        allocate(problem([[1, 1, 1]], [10]), 180)


def test_more_bits_cost_less_and_a_louder_layer_is_dearer(save_model: Save, tokens: Tensor) -> None:
    folder, _ = save_model("llama")
    found = measure_sensitivities(folder, tokens, TYPES)
    assert len(found.tensors) == 3 * 7 + 2
    for tensor in found.tensors:
        assert tensor.losses["Q4_0"] > tensor.losses["Q5_0"] > tensor.losses["Q8_0"] > 0
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(10)
    model.save_pretrained(folder)
    louder = measure_sensitivities(folder, tokens, TYPES)
    by_name = {t.name: t.losses["Q4_0"] for t in louder.tensors}
    assert by_name["blk.1.ffn_down.weight"] > by_name["blk.0.ffn_down.weight"]


def test_types_whose_block_does_not_divide_the_columns_are_not_offered(
    save_model: Save, tokens: Tensor
) -> None:
    folder, _ = save_model("llama")
    found = measure_sensitivities(folder, tokens, ("Q4_0", "Q4_K"))
    assert all(tensor.losses.keys() == {"Q4_0"} for tensor in found.tensors)


def test_a_type_without_a_solver_is_refused(save_model: Save, tokens: Tensor) -> None:
    folder, _ = save_model("llama")
    with pytest.raises(CompressionSettingsInvalid, match="IQ1_S"):
        measure_sensitivities(folder, tokens, ("IQ1_S",))


def test_an_allocation_is_carried_out_tensor_by_tensor(
    save_model: Save, tokens: Tensor, tmp_path: Path
) -> None:
    folder, _ = save_model("llama")
    found = measure_sensitivities(folder, tokens, TYPES)
    least = sum(t.size_bytes("Q4_0") for t in found.tensors)
    types = allocate(found, int(1.2 * least))
    assert len(set(types.values())) > 1
    method = gptq_method(grids_of_types(folder, types))
    walk(
        folder,
        tokens,
        method,
        destination=Destination(folder=tmp_path / "out", dtype=torch.float32),
    )
    index = read_packed_index(tmp_path / "out")
    assert index is not None
    inside = {name: kind for name, kind in types.items() if name.startswith("blk.")}
    assert {name: entry.type for name, entry in index.tensors.items()} == inside


def test_r71_the_mix_for_lost_reasoning_keeps_attention_at_8_bits_and_ffn_at_4(
    save_model: Save,
) -> None:
    folder, _ = save_model("llama")
    types = named_mix("attention-8-ffn-4", read_model(folder))
    assert types["blk.0.attn_q.weight"] == "Q8_0"
    assert types["blk.0.ffn_up.weight"] == "Q4_0"  # 64 columns: no K type
    assert "blk.0.attn_norm.weight" not in types and "token_embd.weight" not in types
