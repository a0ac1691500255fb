"""What is asked of the main job, settled before it is planned."""

from __future__ import annotations

import pytest

from edgecomp.common.tasks import MixChoice, Rounding
from edgecomp.jobs.fit import FitRequest
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings


@pytest.mark.parametrize(
    ("rounding", "asked", "settled"),
    [
        (None, None, None),
        ("gptq", None, None),
        ("llama.cpp", None, "none"),
        ("llama.cpp", "optimal", "optimal"),
        ("gptq", "none", "none"),
    ],
)
def test_llama_cpps_own_rounding_keeps_its_own_types_unless_a_mix_is_asked_for(
    rounding: Rounding | None, asked: MixChoice | None, settled: MixChoice | None
) -> None:
    """So its plan counts no sensitivities, and none are measured."""
    wanted = FitRequest(
        model="demo",
        device="auto",
        constraints=Constraints(),
        evaluation=EvaluationSettings(),
        rounding=rounding,
        mix=asked,
    )
    assert wanted.settled_mix == settled
