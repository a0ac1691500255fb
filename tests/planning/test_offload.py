"""Placements that are chosen: golden ones, and the laws that all of them obey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from shapes import write_headers

from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import format_facts, tensor_types_of
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.card_fill import MemoryDemand, card_bytes, footprint
from edgecomp.planning.offload import (
    Offload,
    fastest,
    fits,
    offload,
    offloads,
    placement_of,
    possible_footprints,
    session_seconds,
)
from edgecomp.planning.placement import Placement
from edgecomp.planning.plan import Plan
from edgecomp.planning.planner import make_plan
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings


def weights_of(model: ModelSpec, name: str) -> LayeredWeights:
    return layered_weights(model, tensor_types_of(model, name))


def plan_of(model: ModelSpec, device: DeviceProfile, name: str, **limits: object) -> Plan:
    facts = [row for row in format_facts(model) if row.name == name]
    return make_plan(model, device, Constraints.model_validate(limits), facts)


def best_on_cards(
    model: ModelSpec, weights: LayeredWeights, device: DeviceProfile, context: int
) -> Offload:
    run = RunSettings(context=context, threads=device.cpu.cores)
    footprints = possible_footprints(model, run, device, None)
    options = [option for kind in offloads(weights, footprints, device) for option in kind]
    return fastest(model, weights, device, options)


def with_memory(device: DeviceProfile, **sizes: int) -> DeviceProfile:
    """The device with pools of other sizes, in bytes."""
    raw = device.model_dump()
    for pool in raw["pools"]:
        if pool["name"] in sizes:
            pool |= {"size": sizes[pool["name"]], "reserved": 0}
    return DeviceProfile.model_validate(raw)


@pytest.fixture(scope="module")
def qwen(header_only: Callable[[str], Path]) -> ModelSpec:
    return read_model(header_only("Qwen3-30B-A3B"))


@pytest.fixture(scope="module")
def llama(header_only: Callable[[str], Path]) -> ModelSpec:
    return read_model(header_only("Llama-3.3-70B"))


def test_a_mixture_on_8_gb_keeps_experts_on_the_cpu(qwen: ModelSpec) -> None:
    """Everything else of all layers on the card is worth more than a few whole layers there."""
    plan = plan_of(qwen, find_device("rtx-4060-8gb"), "Q4_K_M", context=4096)
    chosen = plan.chosen
    assert chosen is not None
    assert chosen.placement == Placement(gpus=("gpu",), gpu_layers=49, cpu_expert_layers=35)
    assert chosen.settings.cpu_expert_layers == 35 and chosen.settings.gpu_layers == 49
    # Prompts copy the experts to the card once a batch: larger ones are worth three layers' room.
    assert chosen.settings.micro_batch == 2048
    whole = [r for r in plan.placements if r.placement.gpus and not r.placement.cpu_expert_layers]
    assert whole and all(
        chosen.speed.decode_tokens_per_second > 1.2 * row.decode_tokens_per_second for row in whole
    )
    assert chosen.pool_bytes["vram"] < 0.9 * 7.96e9


def test_a_70b_model_lies_evenly_on_two_cards(llama: ModelSpec, two_cards: DeviceProfile) -> None:
    plan = plan_of(llama, two_cards, "IQ4_XS", context=8192)
    chosen = plan.chosen
    assert chosen is not None
    assert chosen.placement == Placement(
        gpus=("gpu0", "gpu1"), gpu_layers=81, tensor_split=(41, 40)
    )
    assert list(chosen.pool_bytes) == ["vram0", "vram1", "ram"]
    assert chosen.pool_bytes["vram0"] == pytest.approx(chosen.pool_bytes["vram1"], rel=0.03)
    assert chosen.fits == "fits" and chosen.speed.decode_tokens_per_second > 15
    assert plan.one_layer_more is None
    alone = [row for row in plan.placements if len(row.placement.gpus) == 1]
    assert alone and all(0 in row.placement.tensor_split for row in alone)


LLAMA_2_13B = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": 5120, "num_hidden_layers": 40,
    "num_attention_heads": 40, "num_key_value_heads": 40, "intermediate_size": 13824,
    "vocab_size": 32000, "tie_word_embeddings": False, "max_position_embeddings": 4096,
}  # fmt: skip


def test_the_cache_of_a_model_without_grouped_heads_goes_to_the_host(tmp_path: Path) -> None:
    """Its 3.4 GB are room for ten layers more, whose weights a token would read from slow memory;
    with grouped heads the CPU would read the cache several times over."""
    write_headers(tmp_path, LLAMA_2_13B)
    plan = plan_of(read_model(tmp_path), find_device("rtx-4060-8gb"), "Q4_K_M", context=4096)
    chosen = plan.chosen
    assert chosen is not None
    assert chosen.placement == Placement(gpus=("gpu",), gpu_layers=34, kv_on_gpu=False)
    assert not chosen.settings.kv_on_gpu
    assert chosen.pool_bytes["ram"] > chosen.memory.kv_cache_bytes == 3_355_443_200
    beside = next(r for r in plan.placements if r.placement.gpus and r.placement.kv_on_gpu)
    assert beside.placement.gpu_layers == 24
    assert beside.decode_tokens_per_second < chosen.speed.decode_tokens_per_second


MODELS = ("Qwen3-30B-A3B", "Llama-3.1-8B", "Llama-3.3-70B")
KNOWN: dict[str, tuple[ModelSpec, LayeredWeights]] = {}
TWO: DeviceProfile


@pytest.fixture(scope="module", autouse=True)
def known(header_only: Callable[[str], Path], two_cards: DeviceProfile) -> None:
    # Hypothesis calls its function many times, which a fixture of function scope would not allow.
    global TWO
    TWO = two_cards
    for name in MODELS:
        model = read_model(header_only(name))
        KNOWN[name] = model, weights_of(model, "Q4_K_M")


memories = st.integers(2, 60).map(lambda gigabytes: gigabytes * 10**9)
contexts = st.sampled_from([512, 4096, 16384])


@settings(max_examples=60)
@given(st.sampled_from(MODELS), memories, memories, contexts)
def test_no_placement_on_cards_asks_one_for_more_than_it_has(
    name: str, first: int, second: int, context: int
) -> None:
    model, weights = KNOWN[name]
    device = with_memory(TWO, vram0=first, vram1=second)
    run = RunSettings(context=context, threads=8)
    for kind in offloads(weights, possible_footprints(model, run, device, None), device):
        for option in kind:
            for pool in list(option.pool_bytes)[:-1]:
                assert option.pool_bytes[pool] <= device.pool(pool).usable_bytes
            placed = placement_of(option.settings, device)
            assert placed == option.placement


@settings(max_examples=60)
@given(st.sampled_from(MODELS), memories, memories, memories, contexts)
def test_what_is_chosen_fits_wherever_anything_does(
    name: str, first: int, second: int, host: int, context: int
) -> None:
    model, weights = KNOWN[name]
    device = with_memory(TWO, vram0=first, vram1=second, ram=host)
    run = RunSettings(context=context, threads=8)
    options = [
        w
        for k in offloads(weights, possible_footprints(model, run, device, None), device)
        for w in k
    ]
    chosen = fastest(model, weights, device, options)
    assert fits(chosen, device) == any(fits(option, device) for option in options)


@settings(max_examples=60)
@given(st.sampled_from(MODELS), memories, memories, st.integers(0, 20 * 10**9), contexts)
def test_more_memory_never_gives_a_slower_choice(
    name: str, first: int, second: int, more: int, context: int
) -> None:
    model, weights = KNOWN[name]
    plenty = 200 * 10**9
    smaller = with_memory(TWO, vram0=first, vram1=second, ram=plenty)
    larger = with_memory(TWO, vram0=first + more, vram1=second, ram=plenty)
    before, after = (
        session_seconds(model, weights, device, best_on_cards(model, weights, device, context))
        for device in (smaller, larger)
    )
    assert after <= before * (1 + 1e-5)


def test_the_gain_of_one_layer_more_is_that_of_the_next_placement(llama: ModelSpec) -> None:
    card = find_device("rtx-4090")
    plan = plan_of(llama, card, "Q4_K_M", context=4096)
    chosen, more = plan.chosen, plan.one_layer_more
    assert chosen is not None and more is not None
    per_layer = chosen.file_bytes / 81
    assert more.what == "layer" and more.pool == "vram"
    assert 0.8 * per_layer < more.bytes < 1.4 * per_layer
    assert more.free_bytes == card.pool("vram").usable_bytes - chosen.pool_bytes["vram"]
    assert 0 < more.decode_tokens_per_second < 0.1 * chosen.speed.decode_tokens_per_second


def test_a_card_is_filled_to_the_brim_only_where_the_host_is_too_small(llama: ModelSpec) -> None:
    card = find_device("rtx-4090")
    roomy = plan_of(llama, card, "Q4_K_M", context=4096)
    assert roomy.chosen is not None
    less = roomy.chosen.pool_bytes["ram"] - 10**9
    scarce = plan_of(llama, with_memory(card, ram=less), "Q4_K_M", context=4096)
    assert scarce.chosen is not None
    assert roomy.chosen.fits == "fits" and scarce.chosen.fits == "tight"
    assert scarce.chosen.placement.gpu_layers > roomy.chosen.placement.gpu_layers
    usable = card.pool("vram").usable_bytes
    assert roomy.chosen.pool_bytes["vram"] <= 0.9 * usable < scarce.chosen.pool_bytes["vram"]


def test_a_device_without_cards_has_nothing_to_weigh(header_only: Callable[[str], Path]) -> None:
    model = read_model(header_only("SmolLM2-135M"))
    plan = make_plan(model, find_device("raspberry-pi-5-8gb"), Constraints(context=2048))
    assert plan.placements == () and plan.one_layer_more is None


def test_what_a_card_holds_is_what_llama_cpp_reports_of_it(demo_gguf: Path) -> None:
    """Of two RPC devices of CPU memory (llama-cpp-python 0.3.36, context 2048, `-ngl 20
    --tensor-split 13,7`, then `-ngl 31 --tensor-split 16,15`), in MiB of weights and cache."""
    model = read_model(demo_gguf)
    weights = weights_of(model, "source")
    demand = MemoryDemand(weights, footprint(model, RunSettings(context=2048, threads=1)))
    for gpu_layers, counts, reported in (
        (20, (13, 7), (27.48 + 19.5, 41.37 + 9.0)),
        (31, (16, 15), (33.82 + 24.0, 58.28 + 21.0)),
    ):
        at = demand.places - gpu_layers
        for count, mebibytes in zip(counts, reported, strict=True):
            held = demand.layer_bytes(at, at + count, 0, kv_on_gpu=True)
            assert held / 2**20 == pytest.approx(mebibytes, abs=0.011)
            at += count
    # All layers on several cards: the compute buffer with its copies was 24.91 MiB.
    compute = demand.footprint.memory.compute_bytes + demand.footprint.pipeline_bytes
    assert compute / 2**20 == pytest.approx(24.91, rel=0.01)
    used = card_bytes(demand, 31, (16, 15), 0, kv_on_gpu=True)
    assert sum(used) > weights.stored_bytes


def test_settings_without_their_cards_place_nothing_there(two_cards: DeviceProfile) -> None:
    run = RunSettings(context=512, threads=1, gpu_layers=9, tensor_split=(4, 5))
    assert placement_of(run, two_cards).gpus == ("gpu0", "gpu1")
    assert placement_of(run, find_device("raspberry-pi-5-8gb")) == Placement()
    assert placement_of(run, find_device("rtx-4090")) == Placement()
    one = RunSettings(context=512, threads=1, gpu_layers=9)
    assert placement_of(one, find_device("apple-m4")).gpus == ("gpu",)


def test_shares_that_are_not_the_layers_on_cards_are_refused() -> None:
    with pytest.raises(ValidationError, match="tensor_split shares 3 layers, gpu_layers is 40"):
        RunSettings(context=512, threads=1, gpu_layers=40, tensor_split=(1, 2))


def test_a_placement_and_its_settings_say_the_same(llama: ModelSpec) -> None:
    card = find_device("rtx-4090")
    demand = MemoryDemand(
        weights_of(llama, "Q4_0"), footprint(llama, RunSettings(context=512, threads=4))
    )
    placement = Placement(gpus=("gpu",), gpu_layers=9, kv_on_gpu=False)
    option = offload(demand, card, placement)
    assert (option.settings.gpu_layers, option.settings.kv_on_gpu) == (9, False)
    assert set(option.pool_bytes) == {"vram", "ram"}
