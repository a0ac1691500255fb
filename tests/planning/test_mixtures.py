"""Mixtures as candidates: they fill what a request or a device leaves, and pass nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.devices.finding import find_device
from edgecomp.formats.format_facts import planned_file_bytes, tensor_types_of
from edgecomp.formats.presets import MIXTURE
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.plan import Candidate, Plan
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices, recipe_for
from edgecomp.recipes.constraints import Constraints

GB = 10**9
FULL = 0.995


@pytest.fixture(scope="module")
def demo(demo_gguf: Path) -> ModelSpec:
    return read_model(demo_gguf)


@pytest.fixture
def llama(header_only: Callable[[str], Path]) -> ModelSpec:
    return read_model(header_only("Llama-3.1-8B"))


def chosen(plan: Plan) -> Candidate:
    assert plan.chosen is not None, plan.nearest
    return plan.chosen


@pytest.mark.parametrize("size", [3.2, 3.7, 4.4, 5.3, 6.6, 7.9])
def test_a_size_is_filled_and_never_passed(llama: ModelSpec, size: float) -> None:
    limits = Constraints(max_size_bytes=int(size * GB), context=2048)
    row = chosen(make_plan(llama, find_device("ryzen-7-5800x"), limits))
    assert row.format == MIXTURE
    assert FULL * size * GB <= row.file_bytes <= size * GB
    types = tensor_types_of(llama, MIXTURE, overrides=row.types)
    assert planned_file_bytes(llama, MIXTURE, types) == row.file_bytes


@pytest.mark.parametrize("memory", [5.0, 6.5])
def test_a_memory_limit_at_a_context_is_filled(llama: ModelSpec, memory: float) -> None:
    limits = Constraints(max_memory_bytes=int(memory * GB), context=8192)
    row = chosen(make_plan(llama, find_device("rtx-4090"), limits))
    assert row.format == MIXTURE
    assert FULL * memory * GB <= row.memory.total_bytes <= memory * GB


@pytest.mark.parametrize(
    "device", ["pixel-9", "raspberry-pi-5-8gb", "rtx-4060-8gb", "office-laptop-ddr4"]
)
def test_a_device_alone_is_used_as_far_as_it_goes(llama: ModelSpec, device: str) -> None:
    profile = find_device(device)
    row = chosen(make_plan(llama, profile, Constraints(context=4096)))
    shares = [used / profile.pool(name).usable_bytes for name, used in row.pool_bytes.items()]
    assert row.fits == "fits"
    assert row.format == MIXTURE
    assert 0.88 < max(shares) <= 0.9


def test_everything_on_a_card_is_what_fills_it(llama: ModelSpec) -> None:
    row = chosen(make_plan(llama, find_device("rtx-4060-8gb"), Constraints(context=4096)))
    assert row.placement.gpu_layers == llama.layers + 1


def test_two_cards_are_filled_by_whole_layers(header_only: Callable[[str], Path]) -> None:
    model = read_model(header_only("Llama-3.3-70B"))
    card = find_device("rtx-4090")
    second = card.pools[0].model_copy(update={"name": "vram 2"})
    gpu = card.gpus[0].model_copy(update={"name": "gpu 2", "pool": "vram 2"})
    more = [
        r.model_copy(update={"processor": "gpu 2"}) for r in card.runtimes if r.processor == "gpu"
    ]
    two = card.model_copy(
        update={
            "pools": (*card.pools, second),
            "processors": (*card.processors, gpu),
            "runtimes": (*card.runtimes, *more),
        }
    )
    rows = make_plan(model, two, Constraints(context=2048)).candidates
    row = next(row for row in rows if row.format == MIXTURE and row.placement.gpus)
    assert not row.rejections and row.placement.gpu_layers == model.layers + 1
    used = [row.pool_bytes[name] for name in ("vram", "vram 2")]
    assert sum(used) > 0.83 * 2 * card.pool("vram").usable_bytes


def test_where_everything_fits_presets_decide(demo: ModelSpec) -> None:
    plan = make_plan(demo, find_device("rtx-4090"), Constraints(context=2048))
    assert all(row.format != MIXTURE for row in plan.candidates)


def test_a_source_that_fits_as_it_is_is_not_rounded_to_fill(demo: ModelSpec) -> None:
    limits = Constraints(max_size_bytes=demo.file_bytes, context=2048)
    plan = make_plan(demo, find_device("office-laptop-ddr4"), limits)
    assert all(row.format != MIXTURE for row in plan.candidates)


def test_what_holds_every_value_in_fewer_bytes_is_exact(demo: ModelSpec) -> None:
    """As a file that stores one matrix twice: it does not fit, and all that it says does."""
    twice = demo.model_copy(update={"file_bytes": demo.file_bytes + 30 * 10**6})
    limits = Constraints(max_size_bytes=demo.file_bytes + 10**6, context=2048)
    row = chosen(make_plan(twice, find_device("office-laptop-ddr4"), limits))
    assert row.format == MIXTURE and row.expected_divergence_nats == 0
    stored = {t.name: t.dtype for t in demo.tensors if len(t.shape) > 1}
    assert {name: row.types[name] for name in stored} == stored


def test_a_mixture_is_expected_to_lose_less_than_every_preset_that_fits(demo: ModelSpec) -> None:
    limits = Constraints(max_size_bytes=92 * 10**6, context=2048)
    plan = make_plan(demo, find_device("office-laptop-ddr4"), limits)
    best = chosen(plan)
    rivals = [row for row in plan.candidates if row.file_bytes <= 92 * 10**6]
    assert best.format == MIXTURE
    assert best.expected_divergence_nats == min(row.expected_divergence_nats for row in rivals)


def test_a_speed_is_met_at_the_least_loss(llama: ModelSpec) -> None:
    laptop = find_device("office-laptop-ddr4")
    slow = make_plan(llama, laptop, Constraints(context=2048)).chosen
    assert slow is not None
    wanted = 1.25 * slow.speed.decode_tokens_per_second
    limits = Constraints(context=2048, min_decode_tokens_per_second=wanted)
    row = chosen(make_plan(llama, laptop, limits))
    assert row.format == MIXTURE
    assert wanted <= row.speed.decode_tokens_per_second < 1.05 * wanted


def test_the_smallest_artifact_is_named_where_no_size_works(demo: ModelSpec) -> None:
    laptop = find_device("office-laptop-ddr4")
    plan = make_plan(demo, laptop, Constraints(max_size_bytes=50 * 10**6))
    smallest = min(plan.candidates, key=lambda row: row.file_bytes)
    assert plan.chosen is None and plan.nearest is not None
    assert smallest.name in plan.nearest and "nats" in plan.nearest
    assert make_plan(demo, laptop, Constraints(max_size_bytes=smallest.file_bytes)).chosen
    below = Constraints(max_size_bytes=smallest.file_bytes - 1)
    assert make_plan(demo, laptop, below).chosen is None


def test_limits_that_contradict_each_other_are_told_together(demo: ModelSpec) -> None:
    laptop = find_device("office-laptop-ddr4")
    alone = Constraints(max_size_bytes=60 * 10**6, min_decode_tokens_per_second=10_000.0)
    nearest = make_plan(demo, laptop, alone).nearest
    assert nearest and "--max-size" in nearest and "--min-speed" in nearest


def test_no_mixture_where_types_are_not_to_be_mixed(demo: ModelSpec) -> None:
    limits = Constraints(max_size_bytes=92 * 10**6)
    plan = make_plan(demo, find_device("auto"), limits, choices=Choices(mix="none"))
    assert all(row.format != MIXTURE for row in plan.candidates)


def test_its_recipe_fills_what_the_plan_found(llama: ModelSpec) -> None:
    limits = Constraints(context=4096)
    row = chosen(make_plan(llama, find_device("pixel-9"), limits))
    recipe = recipe_for("model", "pixel-9", limits, row)
    assert (recipe.format, recipe.mix, recipe.rounding) == (MIXTURE, "optimal", "awq+gptq")
    assert recipe.budget_bytes == row.budget_bytes
    assert row.file_bytes <= (row.budget_bytes or 0)


def test_types_without_kernels_on_the_processor_are_not_chosen(llama: ModelSpec) -> None:
    phone = find_device("snapdragon-8-elite")
    only = tuple(
        row.model_copy(update={"formats": ("float", "Q4_0", "Q8_0")}) for row in phone.runtimes
    )
    plan = make_plan(
        llama, phone.model_copy(update={"runtimes": only}), Constraints(max_size_bytes=5 * GB)
    )
    rows = [row for row in plan.candidates if row.format == MIXTURE]
    assert rows and all(set(row.types.values()) <= {"F32", "F16", "Q4_0", "Q8_0"} for row in rows)


def test_an_automatic_cache_is_smaller_where_that_loses_least(llama: ModelSpec) -> None:
    """At a long context a float cache leaves the weights few bits; at a short one it costs
    nothing."""
    card = find_device("rtx-4060-8gb")
    long = chosen(make_plan(llama, card, Constraints(context=32768, kv_type="auto")))
    floats = chosen(make_plan(llama, card, Constraints(context=32768)))
    assert long.settings.kv_type != "F16"
    assert long.expected_divergence_nats < floats.expected_divergence_nats
    short = chosen(make_plan(llama, find_device("rtx-4090"), Constraints(kv_type="auto")))
    assert short.settings.kv_type == "F16"


def test_an_automatic_cache_gives_one_candidate_a_format_context_and_place(
    llama: ModelSpec,
) -> None:
    plan = make_plan(llama, find_device("rtx-4060-8gb"), Constraints(context=8192, kv_type="auto"))
    places = [(row.format, row.placement.gpus) for row in plan.candidates]
    assert len(places) == len(set(places))
    # Cards have no kernels for keys and values of different types.
    assert all("/" not in row.settings.kv_type for row in plan.candidates if row.placement.gpus)


def test_what_a_cache_was_measured_to_lose_counts_instead_of_what_is_expected(
    llama: ModelSpec,
) -> None:
    card, limits = find_device("rtx-4060-8gb"), Constraints(context=32768, kv_type="auto")
    bad = {"F16": 0.0, "Q8_0": 0.001, "Q4_0": 4.0}
    row = chosen(make_plan(llama, card, limits, choices=Choices(cache_losses=bad)))
    assert row.settings.kv_type == "Q8_0"
    worse = {"F16": 0.0, "Q8_0": 3.0, "Q4_0": 4.0}
    row = chosen(make_plan(llama, card, limits, choices=Choices(cache_losses=worse)))
    assert row.settings.kv_type == "F16"
