"""The job's estimate counts the stages that a recipe runs, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.tasks import Effort, Mix, Rounding
from edgecomp.devices.finding import find_device
from edgecomp.formats.kept_predictions import MOST_BYTES, kept_bytes
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning import job_cost
from edgecomp.planning.job_cost import HowMade, estimate_compression, estimate_job
from edgecomp.planning.plan import JobCost
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., Path]) -> ModelSpec:
    return read_model(tiny_model("llama"))


@pytest.mark.parametrize(
    ("format_name", "rounding", "mix", "stages"),
    [
        ("IQ2_XXS", "llama.cpp", None, {"calibration"}),
        ("Q4_K_M", "llama.cpp", None, {"calibration"}),
        ("Q8_0", "llama.cpp", None, set()),
        ("F16", "gptq", None, set()),
        ("Q4_K_M", "gptq", "optimal", {"sensitivities", "rounding", "calibration"}),
        ("gptq-int4-g32", "gptq", None, {"rounding"}),
        ("onnx-optimum-int8", "rtn", None, set()),
    ],
)
def test_what_rounds_nothing_of_ours_counts_no_rounding(  # A27
    model: ModelSpec, format_name: str, rounding: Rounding, mix: Mix | None, stages: set[str]
) -> None:
    job = estimate_compression(model, format_name, 10**6, (), HowMade(mix, rounding))
    assert {row.stage for row in job.stages} == {"intake", "check", "compression"} | stages


def test_a_plan_counts_the_rounding_that_is_asked_for(model: ModelSpec) -> None:  # A27
    device, constraints = find_device("office-laptop-ddr4"), Constraints(max_size_bytes=140_000)
    rounded = {
        rounding: {row.stage for row in plan.job.stages} if plan.job else set()
        for rounding in (None, "gptq", "llama.cpp")
        if (
            plan := make_plan(
                model, device, constraints, choices=Choices(mix="none", rounding=rounding)
            )
        )
    }
    assert "rounding" in rounded[None] and "rounding" in rounded["gptq"]
    assert rounded["llama.cpp"] == rounded[None] - {"rounding"} | {"calibration"}


def test_tuning_is_counted_where_it_is_asked_for_and_codes_are_ours(model: ModelSpec) -> None:
    def job(format_name: str, rounding: Rounding, effort: Effort) -> JobCost:
        how = HowMade(rounding=rounding, effort=effort)
        return estimate_compression(model, format_name, 10**6, (), how)

    best, quick = (job("Q4_K_M", "gptq", effort) for effort in ("best", "quick"))
    added = {row.stage for row in best.stages} - {row.stage for row in quick.stages}
    assert added == {"tuning"}
    # Each says what the others take.
    assert best.effort_seconds == pytest.approx(quick.effort_seconds)
    assert best.effort_seconds["best"] == pytest.approx(best.seconds)
    assert quick.effort_seconds["quick"] == pytest.approx(quick.seconds)
    assert "By --effort: quick" in quick.sentence
    for format_name, rounding in (("Q4_K_M", "llama.cpp"), ("F16", "gptq"), ("IQ2_XXS", "rtn")):
        other = job(format_name, rounding, "best")
        tuned = format_name == "IQ2_XXS"
        assert ("tuning" in {row.stage for row in other.stages}) == tuned
        assert bool(other.effort_seconds) == tuned


def test_weighing_is_counted_where_a_recipe_asks_for_it_and_a_solver_rounds(
    model: ModelSpec,
) -> None:
    def job(rounding: Rounding, *, weighs: bool) -> JobCost:
        how = HowMade(rounding=rounding, weighs_tokens=weighs)
        return estimate_compression(model, "Q4_K_M", 10**6, (), how)

    weighed, alike = (job("gptq", weighs=weighs) for weighs in (True, False))
    added = {row.stage for row in weighed.stages} - {row.stage for row in alike.stages}
    assert added == {"weighing"}
    # Statistics for each matrix of a block, not for each input.
    own, shared = (
        next(row.peak_memory_bytes for row in rows.stages if row.stage == "rounding")
        for rows in (weighed, alike)
    )
    assert own > shared
    assert "weighing" not in {row.stage for row in job("rtn", weighs=True).stages}


def test_a_tuning_that_memory_forbids_does_not_refuse_the_job(
    model: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_cost, "available_memory_bytes", lambda: 0)
    how = HowMade(rounding="gptq", effort="best")
    job = estimate_compression(model, "Q4_K_M", 10**6, (), how)
    assert "tuning" not in {row.stage for row in job.stages}
    assert "tuning" not in " ".join(job.refusals)
    assert not job.effort_seconds


def test_what_the_base_predicts_is_kept_and_takes_disk_up_to_a_limit(
    header_only: Callable[[str], Path],
) -> None:
    model = read_model(header_only("SmolLM2-135M"))
    plan = make_plan(model, find_device("office-laptop-ddr4"), Constraints(context=512))
    assert plan.chosen is not None

    def disk(vocabulary: int) -> int:
        (evaluation,) = (
            row
            for row in estimate_job(
                model.model_copy(update={"vocabulary": vocabulary}), plan.chosen
            ).stages
            if row.stage == "evaluation"
        )
        return evaluation.disk_bytes

    large, huge = 151_936, 500_000
    of_text, of_capabilities = 16 * 256, 7 * 8 * 64
    assert disk(large) == pytest.approx(kept_bytes(large, of_text + of_capabilities), rel=0.01)
    assert kept_bytes(huge, of_text) > MOST_BYTES
    assert disk(huge) == pytest.approx(kept_bytes(huge, of_capabilities), rel=0.01)
