"""What the classes of processors pay; `make bench-devices` holds it against published speeds."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.devices.finding import find_device
from edgecomp.devices.profile import DeviceProfile, MemoryPool, Processor, profile_paths
from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.device_speed import COSTS, cost_class, pace_of, product_seconds
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import Load, SpeedEstimate, estimate_speed

TERA = 10**12


@pytest.fixture(scope="module")
def model(header_only: Callable[[str], Path]) -> ModelSpec:
    return read_model(header_only("Llama-3.1-8B"))


def on_card(
    model: ModelSpec, name: str, device: DeviceProfile, *, prompt: int = 512, flash: bool = True
) -> SpeedEstimate:
    placement = Placement(gpus=(device.gpus[0].name,), gpu_layers=model.layers + 1)
    weights = layered_weights(model, tensor_types_of(model, name))
    load = Load(depth=prompt, prompt_tokens=prompt, flash_attention=flash)
    return estimate_speed(model, weights, device, placement, load)


def with_peaks(device: DeviceProfile, **peaks: int) -> DeviceProfile:
    card = device.gpus[0]
    changed = card.model_copy(update={"peak": {**card.peak, **peaks}})
    others = [processor for processor in device.processors if processor is not card]
    return device.model_copy(update={"processors": (changed, *others)})


def test_every_processor_of_every_profile_has_a_class() -> None:
    for name in profile_paths():
        device = find_device(name)
        for processor in (device.cpu, *device.gpus):
            assert cost_class(processor, device.pool(processor.pool)) in COSTS


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("rtx-4090", "cuda"), ("apple-m3", "metal"), ("rx-7900-xtx", "amd"), ("rx-7600", "amd"),
        ("ryzen-ai-9-hx-370", "amd-integrated"), ("arc-b580", "intel"),
        ("core-ultra-7-258v", "intel-integrated"), ("snapdragon-8-elite", "adreno"),
    ],
)  # fmt: skip
def test_a_graphics_processor_is_of_the_class_that_its_kernels_make(
    device: str, expected: str
) -> None:
    profile = find_device(device)
    card = profile.gpus[0]
    assert cost_class(card, profile.pool(card.pool)) == expected


def test_int8_tensor_cores_read_quantized_prompts_and_leave_float_ones_alone(
    model: ModelSpec,
) -> None:
    card = find_device("rtx-3090")
    twice = with_peaks(card, int8=2 * card.gpus[0].peak["int8"])
    gains = [
        on_card(model, name, twice).prefill_tokens_per_second
        / on_card(model, name, card).prefill_tokens_per_second
        for name in ("Q4_0", "F16")
    ]
    assert gains[0] > 1.2 and gains[1] == pytest.approx(1)


def test_k_types_are_read_slower_than_plain_ones_where_products_are_fast(model: ModelSpec) -> None:
    card = find_device("rtx-4090")
    k, plain = (on_card(model, name, card).prefill_tokens_per_second for name in ("Q4_K_M", "Q4_0"))
    assert k < 0.95 * plain


def test_a_small_model_on_a_fast_card_waits_for_its_layers(
    header_only: Callable[[str], Path],
) -> None:
    small, card = read_model(header_only("SmolLM2-135M")), find_device("rtx-4090")
    weights = layered_weights(small, tensor_types_of(small, "Q8_0"))
    streamed = weights.stored_bytes / card.pools[0].bandwidth
    assert on_card(small, "Q8_0", card, prompt=16).decode_tokens_per_second < 0.3 / streamed


def test_without_flash_attention_long_prompts_are_read_slower(model: ModelSpec) -> None:
    card = find_device("rtx-4090")
    for field in ("prefill_tokens_per_second", "decode_tokens_per_second"):
        ratios = [
            getattr(on_card(model, "Q4_0", card, prompt=tokens), field)
            / getattr(on_card(model, "Q4_0", card, prompt=tokens, flash=False), field)
            for tokens in (512, 8192)
        ]
        assert 1 < ratios[0] < ratios[1]


def test_experts_on_a_card_take_longer_than_as_many_plain_weights(
    header_only: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture, card = read_model(header_only("Qwen3-30B-A3B")), find_device("rtx-4090")
    weights = layered_weights(mixture, tensor_types_of(mixture, "Q4_K_M"))

    def seconds(kept: int) -> float:
        place = Placement(gpus=("gpu",), gpu_layers=49, cpu_expert_layers=kept)
        load = Load(depth=0, prompt_tokens=16)
        return 1 / estimate_speed(mixture, weights, card, place, load).prefill_tokens_per_second

    dear = [seconds(kept) for kept in (0, 24, 48)]
    monkeypatch.setitem(COSTS, "cuda", COSTS["cuda"]._replace(expert_products=1))
    gaps = [cost - seconds(kept) for cost, kept in zip(dear, (0, 24, 48), strict=True)]
    # What the card does not hold costs it nothing more.
    assert gaps[0] > 0 and 0.3 < gaps[1] / gaps[0] < 0.7 and gaps[2] == pytest.approx(0)


def test_memory_that_the_processor_shares_costs_graphics_more_than_its_own() -> None:
    card = find_device("rx-7600").gpus[0]
    pools = [
        MemoryPool(name="vram", kind=kind, size=2**33, reserved=0, bandwidth=10**11)
        for kind in ("vram", "unified")
    ]
    own, shared = (product_seconds("Q4_0", pace_of(card, pool)) for pool in pools)
    assert own < shared


def test_a_card_of_which_only_the_half_precision_rate_is_known_is_predicted() -> None:
    pool = MemoryPool(name="vram", kind="vram", size=2**33, reserved=0, bandwidth=2 * 10**11)
    card = Processor(
        name="gpu", kind="gpu", pool="vram", backend="cuda", cores=1, peak={"fp16": 10 * TERA}
    )
    pace = pace_of(card, pool)
    assert 0 < pace.product < 1 / TERA and 1 / 2e11 <= pace.byte < 2 / 2e11


def test_kernels_that_unpack_much_are_slow_on_the_processor_alone() -> None:
    card = find_device("rtx-4090")
    assert pace_of(card.cpu, card.system_pool).slow_kernels["IQ2_XS"] < 1
    assert not pace_of(card.gpus[0], card.pools[0]).slow_kernels


def test_published_speeds_are_predicted_from_profiles_within_the_goal(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = data_folder / "published_speeds.csv"
    if not table.is_file():
        pytest.skip("the evaluation data hold no published speeds")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    published = importlib.import_module("published_speeds")
    rows, _ = published.read_rows(table)
    for test, goal in (("tg", 0.10), ("pp", 0.25)):
        errors = [abs(published.error(row)) for row in rows if row.test == test]
        assert len(errors) > 100 and statistics.median(errors) < goal
