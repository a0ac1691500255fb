"""Plans for ONNX Runtime's execution providers: what fits which device, memory, and division."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.devices.finding import find_device
from edgecomp.formats.execution_providers import PROVIDERS, execution_provider
from edgecomp.formats.onnx_formats import onnx_data_bytes
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, TensorSpec
from edgecomp.planning.plan import Candidate, Plan
from edgecomp.planning.planner import make_plan
from edgecomp.planning.provider_choice import fitting_provider, provider_processor
from edgecomp.planning.provider_partition import expected_nodes, partition
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints

Tiny = Callable[..., Path]


def planned(source: Path, device: str, provider: str) -> Plan:
    choices = Choices(runtime="onnx", provider=provider)
    limits = Constraints(context=256)
    return make_plan(read_model(source), find_device(device), limits, choices=choices)


def candidate(plan: Plan, name: str) -> Candidate:
    return next(row for row in plan.candidates if row.format == name)


@pytest.mark.parametrize(
    ("device", "provider"),
    [
        ("rtx-4090", "cuda"),
        ("jetson-orin-nano-8gb", "cuda"),
        ("apple-m3", "coreml"),
        ("iphone-16-pro", "coreml"),
        ("snapdragon-8-elite", "qnn"),
        ("core-ultra-7-155h", "dml"),
        ("rx-7900-xtx", "dml"),
        ("ryzen-ai-max-395", "dml"),
        ("steam-deck", "cpu"),
        ("raspberry-pi-5-8gb", "cpu"),
    ],
)
def test_a_device_gets_the_provider_made_for_it(device: str, provider: str) -> None:
    profile = find_device(device)
    assert fitting_provider(profile) == provider
    assert provider_processor(provider, profile) in profile.processors


def test_a_card_holds_weights_and_cache_and_the_host_the_process(tiny_model: Tiny) -> None:
    source = tiny_model("llama")
    row = candidate(planned(source, "rtx-3060-12gb", "cuda"), "onnx-int4-32")
    model = read_model(source)
    weights = onnx_data_bytes(model, "onnx-int4-32", "cuda")
    assert row.memory.weights_bytes == weights
    cell = model.layers * model.kv_heads * (model.key_length + model.value_length)
    assert row.memory.kv_cache_bytes == 2 * 256 * cell
    assert row.settings.kv_type == "F16"
    assert sum(row.pool_bytes.values()) == row.memory.total_bytes
    card = row.memory.total_bytes - row.memory.runtime_bytes - 4 * model.vocabulary
    assert row.pool_bytes["vram"] == card
    assert row.provider == "cuda"
    assert "CUDA" in row.label
    assert any("not measured" in note for note in row.notes)


def test_blocks_that_cuda_takes_apart_are_told(tiny_model: Tiny) -> None:
    plan = planned(tiny_model("llama"), "rtx-3060-12gb", "cuda")
    told = {
        row.format: any("apart before it multiplies" in note for note in row.notes)
        for row in plan.candidates
    }
    assert told["onnx-int4-16"]
    assert not told["onnx-int4-32"]
    assert not told["onnx-int8"]


def test_a_table_that_directml_cannot_look_up_in_lies_with_the_host(tiny_model: Tiny) -> None:
    source = tiny_model("llama-tied-llama3-rope")
    rows = {
        name: candidate(planned(source, "rtx-3060-12gb", name), "onnx-int4-32")
        for name in ("cuda", "dml")
    }
    assert rows["dml"].pool_bytes["ram"] > rows["cuda"].pool_bytes["ram"]
    assert rows["dml"].pool_bytes["vram"] == rows["cuda"].pool_bytes["vram"]
    assert any("1 GatherBlockQuantized" in note for note in rows["dml"].notes)


def test_formats_without_products_there_are_out_with_the_reason(tiny_model: Tiny) -> None:
    plan = planned(tiny_model("llama"), "apple-m3", "coreml")
    assert plan.chosen is not None
    assert plan.chosen.format == "onnx-fp32"
    out = candidate(plan, "onnx-int4-32").rejections
    assert "CoreML computes no products of int4." in [row.text for row in out]


def test_what_openvino_takes_apart_is_as_large_and_as_slow_as_floats(tiny_model: Tiny) -> None:
    source = tiny_model("llama")
    plans = {name: planned(source, "core-ultra-7-155h", name) for name in ("cpu", "openvino")}
    own, compiled = (candidate(plan, "onnx-int4-32") for plan in plans.values())
    floats = candidate(plans["openvino"], "onnx-fp32")
    matrices = sum(math.prod(row.shape) for row in read_model(source).tensors if is_product(row))
    assert compiled.memory.weights_bytes == own.memory.weights_bytes + 2 * 4 * matrices
    assert compiled.memory.kv_cache_bytes == own.memory.kv_cache_bytes
    assert compiled.speed == floats.speed != own.speed
    assert any("neither faster nor smaller" in note for note in compiled.notes)


def is_product(tensor: TensorSpec) -> bool:
    return len(tensor.shape) == 2 and tensor.name != EMBEDDING


def test_a_device_without_the_provider_is_named_with_the_one_that_fits(tiny_model: Tiny) -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"NVIDIA's cards.*--provider dml"):
        planned(tiny_model("llama"), "rx-7900-xtx", "cuda")


def test_auto_is_the_provider_that_fits(tiny_model: Tiny) -> None:
    chosen = planned(tiny_model("llama"), "rtx-4090", "auto").chosen
    assert chosen is not None
    assert chosen.provider == "cuda"


def test_a_plan_for_the_cpu_says_which_provider_fits(tiny_model: Tiny) -> None:
    plan = planned(tiny_model("llama"), "rtx-4090", "cpu")
    assert any("--provider cuda" in text for text in plan.notices)
    assert not any(
        "--provider" in t for t in planned(tiny_model("llama"), "pixel-9", "cpu").notices
    )


def test_types_by_matrix_are_refused_for_a_graph_of_the_providers_own(tiny_model: Tiny) -> None:
    choices = Choices(runtime="onnx", provider="cuda", mix="same-size")
    model = read_model(tiny_model("llama"))
    with pytest.raises(CompressionSettingsInvalid, match=r"--mix same-size.*--provider cpu"):
        make_plan(model, find_device("rtx-4090"), Constraints(context=128), choices=choices)


def test_a_provider_is_refused_for_other_runtimes(tiny_model: Tiny) -> None:
    choices = Choices(runtime="llama.cpp", provider="cuda")
    model = read_model(tiny_model("llama"))
    with pytest.raises(CompressionSettingsInvalid, match="--runtime onnx"):
        make_plan(model, find_device("rtx-4090"), Constraints(), choices=choices)


@pytest.mark.parametrize("name", list(PROVIDERS))
def test_every_node_is_taken_or_left(tiny_model: Tiny, name: str) -> None:
    provider = execution_provider(name)
    nodes = expected_nodes(read_model(tiny_model("llama")), "onnx-int4-32", provider)
    divided = partition(nodes, provider)
    assert divided.taken | divided.left == nodes
    assert provider.title in divided.sentence


def test_a_provider_of_fixed_shapes_takes_nothing_and_says_how_to_fix_them() -> None:
    divided = partition({"MatMulNBits": 11, "GroupQueryAttention": 2}, execution_provider("qnn"))
    assert not divided.taken
    assert "make_dynamic_shape_fixed" in divided.sentence
