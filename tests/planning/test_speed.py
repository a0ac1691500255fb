"""The laws that predicted speeds obey; `make bench` holds them against measured ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecomp.devices.finding import find_device
from edgecomp.devices.kernel_rates import CacheTimes, KernelRate, KernelRates
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import Load, SpeedEstimate, estimate_speed


@pytest.fixture(scope="module")
def model(header_only: Callable[[str], Path]) -> ModelSpec:
    return read_model(header_only("Llama-3.1-8B"))


def weights_of(model: ModelSpec, name: str) -> LayeredWeights:
    return layered_weights(model, tensor_types_of(model, name))


def speed(
    model: ModelSpec, name: str, device: DeviceProfile, gpu_layers: int = 0, depth: int = 512
) -> SpeedEstimate:
    gpus = (device.gpus[0].name,) if gpu_layers else ()
    placement = Placement(gpus=gpus, gpu_layers=gpu_layers)
    return estimate_speed(
        model, weights_of(model, name), device, placement, Load(depth=depth, prompt_tokens=512)
    )


def test_decoding_is_bound_by_the_bytes_that_are_streamed(model: ModelSpec) -> None:
    card = find_device("rtx-4090")
    eight, four = (speed(model, name, card, 33) for name in ("Q8_0", "Q4_K_M"))
    bandwidth = card.pools[0].bandwidth
    streamed = weights_of(model, "Q8_0").stored_bytes - 128256 * 4096 * 34 / 32
    assert eight.decode_tokens_per_second < bandwidth / streamed
    assert 1.4 < four.decode_tokens_per_second / eight.decode_tokens_per_second < 2.0


def test_more_layers_on_the_card_are_never_slower(model: ModelSpec) -> None:
    card = find_device("rtx-4090")
    speeds = [speed(model, "Q4_K_M", card, layers).decode_tokens_per_second for layers in range(34)]
    assert speeds == sorted(speeds)


@settings(max_examples=25)
@given(st.integers(0, 100_000), st.integers(1, 20_000))
def test_a_deeper_context_is_never_faster(depth: int, more: int) -> None:
    model, device = DEEP
    first, second = (
        estimate_speed(
            model, WEIGHTS, device, Placement(), Load(depth=d, prompt_tokens=64)
        ).decode_tokens_per_second
        for d in (depth, depth + more)
    )
    assert first > second


@given(st.integers(1, 300), st.none() | st.integers(1, 200))
def test_attention_over_a_prompt_meets_each_key_that_a_query_sees(
    tokens: int, window: int | None
) -> None:
    pairs = sum(min(query, window or query) for query in range(1, tokens + 1))
    # Half a token more or less each: the formula counts the query itself as half seen.
    assert prompt_pairs(tokens, window) == pytest.approx(pairs, abs=tokens / 2)


def test_layers_that_slide_read_their_window_and_the_others_everything(model: ModelSpec) -> None:
    laptop = find_device("office-laptop-ddr4")
    slides = model.model_copy(update={"sliding_window": 1024, "full_attention_every": 6})
    narrow = slides.model_copy(update={"full_attention_every": 10**6})
    seconds = [
        1 / speed(m, "Q4_0", laptop, depth=32_000).decode_tokens_per_second
        for m in (narrow, slides, model)
    ]
    whole = sum(not slides.slides(layer) for layer in range(model.layers)) / model.layers
    assert (seconds[1] - seconds[0]) / (seconds[2] - seconds[0]) == pytest.approx(whole)


DEEP: tuple[ModelSpec, DeviceProfile]
WEIGHTS: LayeredWeights


@pytest.fixture(scope="module", autouse=True)
def deep(demo_gguf: Path) -> None:
    # Hypothesis calls its function many times, which a fixture of function scope would not allow.
    global DEEP, WEIGHTS
    DEEP = read_model(demo_gguf), find_device("office-laptop-ddr4")
    WEIGHTS = layered_weights(DEEP[0], tensor_types_of(DEEP[0], "Q4_0"))


def test_a_calibration_replaces_the_guess_and_says_so(model: ModelSpec) -> None:
    laptop = find_device("office-laptop-ddr4")
    assert speed(model, "Q4_0", laptop).basis == "formula"
    rate = KernelRate(decode_bytes_per_second=10e9, prefill_products_per_second=50e9)
    calibration = KernelRates(
        processor="x", threads=4, runtime="llama.cpp", measured_at="2026-11-24",
        kernels=dict.fromkeys(("Q4_0", "Q4_1", "Q6_K"), rate), layer_seconds=1e-4,
        token_seconds=1e-3, decode_attention_per_second=1e10, prefill_attention_per_second=1e10,
        worker_bytes=1, memory_bytes_per_second=2e10, float_operations_per_second=1e11,
    )  # fmt: skip
    calibrated = laptop.model_copy(update={"kernel_rates": calibration})
    estimate = speed(model, "Q4_0", calibrated, depth=0)
    weights = weights_of(model, "Q4_0")
    embedding = sum(share.stored_bytes for share in weights.looked_up.values())
    matrices = weights.stored_bytes - embedding
    seconds = matrices / 10e9 + 32 * 1e-4 + 1e-3
    assert estimate.basis == "calibrated"
    assert estimate.decode_tokens_per_second == pytest.approx(1 / seconds, rel=0.01)


def test_experts_that_are_not_used_are_not_streamed(header_only: Callable[[str], Path]) -> None:
    """Qwen3-30B-A3B reads about 3 of its 30 billion weights a token."""
    mixture = read_model(header_only("Qwen3-30B-A3B"))
    weights = weights_of(mixture, "Q4_K_M")
    read = sum(s.products for part in (*weights.layers, weights.head) for s in part.values())
    assert 2.5e9 < read < 3.6e9
    assert 30e9 < mixture.parameters < 31e9


def placed(
    model: ModelSpec, device: DeviceProfile, batch: int = 512, **where: object
) -> SpeedEstimate:
    placement = Placement.model_validate({"gpus": ("gpu",), **where})
    weights = weights_of(model, "Q4_K_M")
    return estimate_speed(
        model, weights, device, placement, Load(depth=2048, prompt_tokens=2048, micro_batch=batch)
    )


def test_a_prompt_in_larger_batches_shares_the_copies_of_what_lies_on_the_host(
    model: ModelSpec,
) -> None:
    card = find_device("rtx-4060-8gb")
    small, large = (placed(model, card, size, gpu_layers=10) for size in (512, 2048))
    assert large.prefill_tokens_per_second > 1.1 * small.prefill_tokens_per_second
    assert large.decode_tokens_per_second == small.decode_tokens_per_second
    whole = [placed(model, card, size, gpu_layers=33) for size in (512, 2048)]
    assert whole[0].prefill_tokens_per_second == whole[1].prefill_tokens_per_second


def test_a_cache_on_the_host_is_slower_with_the_same_layers_on_the_card(model: ModelSpec) -> None:
    card = find_device("rtx-4090")
    near, far = (placed(model, card, gpu_layers=33, kv_on_gpu=on) for on in (True, False))
    assert near.decode_tokens_per_second > 1.5 * far.decode_tokens_per_second
    assert near.prefill_tokens_per_second > far.prefill_tokens_per_second


def test_each_expert_on_the_card_makes_decoding_faster(header_only: Callable[[str], Path]) -> None:
    mixture, card = read_model(header_only("Qwen3-30B-A3B")), find_device("rtx-4060-8gb")
    speeds = [
        placed(mixture, card, gpu_layers=49, cpu_expert_layers=kept).decode_tokens_per_second
        for kept in range(48, -1, -6)
    ]
    assert speeds == sorted(speeds) and speeds[-1] > 2 * speeds[0]


def test_a_quantized_cache_slows_a_processor_and_not_a_card(model: ModelSpec) -> None:
    weights = weights_of(model, "Q4_0")
    laptop, card = find_device("office-laptop-ddr4"), find_device("rtx-4090")
    whole = Placement(gpus=("gpu",), gpu_layers=33)
    for device, placement in ((laptop, Placement()), (card, whole)):
        slow, fast = (
            estimate_speed(model, weights, device, placement, Load(4096, 4096, kv_type=kv_type))
            for kv_type in ("Q4_0", "F16")
        )
        if placement.gpus:
            assert slow == fast
        else:
            assert slow.decode_tokens_per_second < fast.decode_tokens_per_second
            assert slow.prefill_tokens_per_second < 0.9 * fast.prefill_tokens_per_second


def test_a_cache_that_was_timed_here_is_taken_at_its_time(model: ModelSpec) -> None:
    laptop = find_device("office-laptop-ddr4")
    rates = KernelRates(
        processor="x", threads=4, runtime="llama.cpp", measured_at="2026-11-24", kernels={},
        layer_seconds=1e-5, token_seconds=1e-5, decode_attention_per_second=1e9,
        prefill_attention_per_second=1e10, worker_bytes=1, memory_bytes_per_second=2e10,
        float_operations_per_second=1e11,
        cache_times={"Q8_0": CacheTimes(decode=3.0, prefill=5.0)},
    )  # fmt: skip
    here = laptop.model_copy(update={"kernel_rates": rates})
    weights = weights_of(model, "Q4_0")

    def seconds(depth: int, kv_type: str) -> float:
        load = Load(depth, depth, kv_type=kv_type)
        found = estimate_speed(model, weights, here, Placement(), load)
        return 1 / found.decode_tokens_per_second

    plain, coarse = (seconds(4000, kind) - seconds(1000, kind) for kind in ("F16", "Q8_0"))
    assert coarse == pytest.approx(3 * plain)
    assert seconds(4000, "BF16") == seconds(4000, "F16")
