"""The job's estimate counts the stages that a recipe runs, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.tasks import Mix, Rounding
from edgecomp.devices.finding import find_device
from edgecomp.formats.kept_predictions import MOST_BYTES, kept_bytes
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.job_cost import estimate_compression, estimate_job
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
    job = estimate_compression(model, format_name, 10**6, (), mix, rounding)
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
