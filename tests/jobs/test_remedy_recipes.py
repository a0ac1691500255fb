"""Remedies as changed recipes: the mixes, the next format, mixed precision, in their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from canned_reports import canned_report, scores
from hypothesis import given
from hypothesis import strategies as st

from edgecomp.evaluate.items import Category, bucket
from edgecomp.formats.format_facts import planned_file_bytes, tensor_types_of
from edgecomp.formats.presets import MIXTURE
from edgecomp.jobs.remedy_recipes import (
    GROWTH,
    Step,
    attention_at_eight_bits,
    larger_formats,
    next_step,
    recalibrated_mix,
)
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.calibration_mix import MOST_SAMPLES, TASK_SOURCES, CalibrationMix, preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import Recipe
from edgecomp.recipes.stages import PruneStage, StructuredStage, staged_model
from edgecomp.reporting.report import Report

WEAK: tuple[Category, ...] = (
    "knowledge", "reasoning", "multilingual", "instruction", "code", "truthfulness", "refusal",
)  # fmt: skip


@pytest.fixture(scope="module")
def spec(tiny_model: Callable[..., Path]) -> ModelSpec:
    return read_model(tiny_model("llama"))


@pytest.fixture(scope="module")
def lossy(spec: ModelSpec) -> Report:
    """4 bits that lost 14 points of reasoning."""
    return canned_report(spec, "Q4_0", scores({"reasoning": 14.0}), kl=0.2)


def steps(report: Report, spec: ModelSpec, most: int = 20) -> list[Step]:
    found: list[Step] = []
    tried: list[Recipe] = [report.recipe]
    while len(found) < most and (step := next_step(report, spec, tried)):
        found.append(step)
        tried.append(step.recipe)
    return found


def test_r50_r71_r97_remedies_are_tried_in_order(lossy: Report, spec: ModelSpec) -> None:
    kinds = list(dict.fromkeys(step.kind for step in steps(lossy, spec)))
    assert kinds == ["recalibrate", "compress less", "mixed precision", "other method"]


def test_another_method_tunes_what_was_rounded_before_it_rounds_otherwise(
    lossy: Report, spec: ModelSpec
) -> None:
    def other_methods(rounding: str) -> list[Recipe]:
        recipe = lossy.recipe.model_copy(update={"rounding": rounding})
        report = lossy.model_copy(update={"recipe": recipe})
        found = steps(report, spec, most=50)
        return [step.recipe for step in found if step.kind == "other method"]

    first, *later = other_methods("gptq")
    assert (first.rounding, first.effort) == ("gptq", "best")
    assert [(recipe.rounding, recipe.effort) for recipe in later] == [("awq+gptq", "default")]
    assert {recipe.effort for recipe in other_methods("llama.cpp")} == {"default"}


def test_no_recipe_is_tried_twice_and_the_steps_end(lossy: Report, spec: ModelSpec) -> None:
    made = steps(lossy, spec, most=50)
    assert len(made) < 50
    dumps = [step.recipe.model_dump_json() for step in made]
    assert len(set(dumps)) == len(dumps) and lossy.recipe.model_dump_json() not in dumps


def test_r51_r87_r90_generic_text_becomes_the_256_128_128_mix_for_reasoning() -> None:
    generic = CalibrationMix(samples={"text": 128})
    assert recalibrated_mix(generic, {"reasoning"}).samples == {
        "math": 256, "general_reasoning": 128, "text": 128,
    }  # fmt: skip


def test_r51_three_times_the_weak_categorys_samples_where_they_fit_else_twice() -> None:
    small = CalibrationMix(samples={"code": 96, "math": 32})
    assert recalibrated_mix(small, {"code"}).samples == {"code": 288, "math": 32}
    large = CalibrationMix(samples={"code": 200, "math": 100})
    assert recalibrated_mix(large, {"code"}).samples == {"code": 400, "math": 100}
    full = CalibrationMix(samples={"code": 200, "math": 300})
    assert recalibrated_mix(full, {"code"}).samples == {"code": 400, "math": 112}


@given(st.sampled_from(WEAK), st.sampled_from(["general", "knowledge", "code", "safety"]))
def test_r51_every_weak_category_gets_at_least_twice_its_samples(weak: Category, task: Any) -> None:
    before, after = preset_mix(task), recalibrated_mix(preset_mix(task), {weak})
    sources = TASK_SOURCES[bucket(weak)]

    def count(mix: CalibrationMix) -> int:
        return sum(mix.samples.get(name, 0) for name in sources)

    assert count(after) >= max(2 * count(before), 1)
    assert after.total <= MOST_SAMPLES


def test_less_compression_is_the_next_larger_format_that_meets_the_constraints(
    lossy: Report, spec: ModelSpec
) -> None:
    larger = larger_formats(lossy)
    assert larger and larger[0].file_bytes > lossy.chosen.file_bytes
    sizes = [row.file_bytes for row in larger]
    assert sizes == sorted(sizes)
    limit = Constraints(context=256, max_size_bytes=lossy.chosen.file_bytes)
    bound = canned_report(spec, "Q4_0", scores({"reasoning": 8.0}), constraints=limit)
    assert larger_formats(bound) == []
    assert "compress less" not in [step.kind for step in steps(bound, spec)]


def test_a_mixture_grows_along_its_frontier_within_the_limits(spec: ModelSpec) -> None:
    def grown(limit: int | None) -> list[int]:
        constraints = Constraints(context=256, max_size_bytes=limit)
        report = canned_report(spec, "Q4_0", scores({"reasoning": 14.0}), constraints=constraints)
        size = report.chosen.file_bytes
        mixed = {"format": MIXTURE, "mix": "optimal", "budget_bytes": size}
        recipe = report.recipe.model_copy(update=mixed)
        found = steps(report.model_copy(update={"recipe": recipe}), spec)
        larger = [step.recipe for step in found if step.change.startswith("a mixture of")]
        assert all(step.mix == "optimal" and not step.tensor_types for step in larger)
        return [step.budget_bytes or 0 for step in larger]

    report = canned_report(spec, "Q4_0", scores({"reasoning": 14.0}))
    size = report.chosen.file_bytes
    assert grown(None) == [int(GROWTH * size)]
    assert grown(int(1.1 * size)) == [int(1.1 * size)]
    assert grown(int(1.01 * size)) == []


def test_r71_attention_gets_eight_bits_and_feed_forward_four_or_more(
    spec: ModelSpec, lossy: Report
) -> None:
    for name in ("Q3_K_M", "Q4_0"):
        recipe = lossy.recipe.model_copy(update={"format": name})
        types = tensor_types_of(
            spec,
            name,
            importance=recipe.importance,
            overrides=attention_at_eight_bits(spec, recipe),
        )
        for tensor in spec.tensors:
            bits = TENSOR_TYPES[types[tensor.name]].bits_per_weight
            if len(tensor.shape) < 2:
                continue
            if tensor.group == "attention":
                assert types[tensor.name] == "Q8_0", tensor.name
            if tensor.group == "ffn":
                assert 4 <= bits < 8, tensor.name
    eight = lossy.recipe.model_copy(update={"format": "Q8_0"})
    assert attention_at_eight_bits(spec, eight) == {}


def test_r71_mixed_precision_over_the_size_limit_is_not_tried(spec: ModelSpec) -> None:
    def kinds(limit: int | None) -> list[str]:
        constraints = Constraints(context=256, max_size_bytes=limit)
        report = canned_report(spec, "Q4_0", scores({"reasoning": 14.0}), constraints=constraints)
        return [step.kind for step in steps(report, spec)]

    recipe = canned_report(spec, "Q4_0", scores({})).recipe
    types = tensor_types_of(
        spec, "Q4_0", importance=True, overrides=attention_at_eight_bits(spec, recipe)
    )
    needed = planned_file_bytes(spec, "Q4_0", types)
    assert "mixed precision" in kinds(needed)
    assert "mixed precision" not in kinds(needed - 1)


def test_r40_r50_what_was_pruned_is_pruned_less_before_its_format_grows(
    lossy: Report, spec: ModelSpec
) -> None:
    stage = PruneStage(method="sparsegpt", sparsity="50%")
    recipe = lossy.recipe.model_copy(update={"stages": (stage,)})
    pruned = lossy.model_copy(update={"recipe": recipe})
    less = [step for step in steps(pruned, spec) if step.kind == "compress less"]
    assert less[0].recipe.stages[0].sparsity == "40%"
    assert less[0].recipe.calibration == recipe.calibration
    assert less[0].recipe.format == recipe.format != less[1].recipe.format


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.5", "40%"), ("0.155", "5.5%"), ("2:4", "3:4"), ("4:8", "5:8")],
)
def test_every_way_to_write_a_sparsity_is_made_denser(
    lossy: Report, spec: ModelSpec, before: str, after: str
) -> None:  # A18
    stage = PruneStage(method="wanda", sparsity=before)
    recipe = lossy.recipe.model_copy(update={"stages": (stage,)})
    pruned = lossy.model_copy(update={"recipe": recipe})
    less = next(step for step in steps(pruned, spec) if step.kind == "compress less")
    assert less.change == f"sparsity {before} -> {after}"
    assert PruneStage.model_validate(less.recipe.stages[0].model_dump()).sparsity == after


@pytest.mark.parametrize("least", ["10%", "0.05", "3:4"])
def test_what_can_be_no_denser_is_left_to_the_format(
    lossy: Report, spec: ModelSpec, least: str
) -> None:  # A18
    stage = PruneStage(method="wanda", sparsity=least)
    recipe = lossy.recipe.model_copy(update={"stages": (stage,)})
    pruned = lossy.model_copy(update={"recipe": recipe})
    less = next(step for step in steps(pruned, spec) if step.kind == "compress less")
    assert less.change.startswith("format ")


def test_mixed_precision_names_the_tensors_of_what_the_stages_make(
    lossy: Report, spec: ModelSpec
) -> None:  # A18
    stages = (StructuredStage(blocks="1"),)
    recipe = lossy.recipe.model_copy(update={"stages": stages})
    cut = lossy.model_copy(update={"recipe": recipe})
    mixed = next(step for step in steps(cut, spec) if step.kind == "mixed precision")
    made = {tensor.name for tensor in staged_model(spec, stages).tensors}
    assert mixed.recipe.tensor_types.keys() <= made < {tensor.name for tensor in spec.tensors}


def test_a_format_without_importance_is_not_recalibrated(spec: ModelSpec) -> None:
    report = canned_report(spec, "Q8_0", scores({"reasoning": 8.0}))
    assert "recalibrate" not in [step.kind for step in steps(report, spec)]


def test_a_verdict_without_remedies_has_no_next_step(spec: ModelSpec) -> None:
    report = canned_report(spec, "Q8_0", scores({}), kl=0.001)
    assert next_step(report, spec, [report.recipe]) is None
