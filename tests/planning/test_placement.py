"""Which layers lie where, as llama.cpp's own rule says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.layered_weights import (
    LayeredWeights,
    Share,
    layered_weights,
    sum_stored_bytes,
)
from edgecomp.formats.presets import SOURCE
from edgecomp.models.reading import read_model
from edgecomp.planning.placement import Placement, parts

LAYERS = 12
KINDS = {"Q4_K": Share(1000, 900.0, 1800.0), "F32": Share(10)}
MOE = LayeredWeights(
    layers=tuple({**KINDS, "Q6_K": Share(100 + n, 10.0, 20.0)} for n in range(LAYERS)),
    head={"Q6_K": Share(500, 500.0, 700.0)},
    looked_up={"Q6_K": Share(500)},
    experts=tuple({"Q4_K": Share(600, 60.0, 120.0)} for _ in range(LAYERS)),
)


def by_llama_cpp(layers: int, gpu_layers: int, shares: tuple[int, ...]) -> list[int | None]:
    """Card of each layer and of the head, by the arithmetic of llama-model.cpp's `load_tensors`:
    cumulative shares in 32-bit floats, and the first that is greater than the layer's own."""
    cumulative = np.cumsum(np.array(shares, np.float32))
    cumulative /= cumulative[-1]
    begin = max(layers + 1 - gpu_layers, 0)
    count = min(gpu_layers, layers + 1)
    return [
        None
        if il < begin
        else int(np.searchsorted(cumulative, np.float32(il - begin) / np.float32(count), "right"))
        for il in range(layers + 1)
    ]


@settings(max_examples=200)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any), st.integers(0, 60))
def test_whole_layers_as_shares_put_each_layer_where_llama_cpp_does(
    shares: list[int], on_cpu: int
) -> None:
    gpu_layers, layers = sum(shares), sum(shares) + on_cpu - 1
    if layers < 1:
        return
    weights = LayeredWeights(tuple({} for _ in range(layers)), {"F16": Share(1)}, {})
    names = tuple(f"gpu{at}" for at, share in enumerate(shares) if share)
    placement = Placement(gpus=names, gpu_layers=gpu_layers, tensor_split=tuple(shares))
    found: list[int | None] = [None] * (layers + 1)
    for part in parts(weights, placement)[1:]:
        assert part.gpu is not None
        for layer in range(part.first, part.last):
            found[layer] = int(part.gpu.removeprefix("gpu"))
        if part.head:
            found[layers] = int(part.gpu.removeprefix("gpu"))
    assert found == by_llama_cpp(layers, gpu_layers, tuple(shares))


@settings(max_examples=100)
@given(st.integers(0, LAYERS + 1), st.integers(0, LAYERS), st.integers(0, LAYERS + 1))
def test_every_weight_lies_in_exactly_one_place(
    gpu_layers: int, cpu_expert_layers: int, first: int
) -> None:
    split = (min(first, gpu_layers), gpu_layers - min(first, gpu_layers))
    placement = Placement(
        gpus=tuple(f"gpu{at}" for at, share in enumerate(split) if share),
        gpu_layers=gpu_layers,
        tensor_split=split,
        cpu_expert_layers=cpu_expert_layers,
    )
    placed = parts(MOE, placement)
    held = sum(sum_stored_bytes((part.weights, part.head)) for part in placed)
    assert held == MOE.stored_bytes - sum_stored_bytes((MOE.looked_up,))
    assert sum(part.layers for part in placed) == LAYERS
    streamed = sum(
        s.streamed_bytes for p in placed for s in (*p.weights.values(), *p.head.values())
    )
    assert streamed == pytest.approx(LAYERS * 910 + 500)


def test_experts_of_the_first_layers_stay_with_the_cpu() -> None:
    placement = Placement(gpus=("gpu",), gpu_layers=LAYERS + 1, cpu_expert_layers=5)
    cpu, card = parts(MOE, placement)
    assert sum_stored_bytes((cpu.weights,)) == 5 * 600 and cpu.experts == 5 and cpu.layers == 0
    assert card.layers == LAYERS and card.head == MOE.head


def test_the_label_says_what_lies_where() -> None:
    placement = Placement(
        gpus=("a", "b"),
        gpu_layers=13,
        tensor_split=(7, 0, 6),
        cpu_expert_layers=4,
        kv_on_gpu=False,
    )
    assert placement.label == "7 + 6 layers on GPU, experts of 4 on CPU, KV cache on CPU"
    assert Placement().label == ""


def test_a_real_mixtures_experts_are_found(tiny_model: object, tmp_path: Path) -> None:
    model = read_model(tiny_model("qwen3moe"))  # type: ignore[operator]
    weights = layered_weights(model, tensor_types_of(model, "F16"))
    assert SOURCE not in weights.experts
    experts = sum(t.elements for t in model.tensors if "_exps" in t.name)
    assert sum_stored_bytes(weights.experts) == 2 * experts
