"""What a plan answers: its choice, and the alternatives by what they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.tasks import TASKS
from edgecomp.devices.finding import find_device
from edgecomp.formats.expected_loss import TOLERATED_NATS
from edgecomp.models.reading import read_model
from edgecomp.planning.answer import (
    NOTICEABLE,
    Purpose,
    alternatives,
    reason,
    what_does_not_fit,
)
from edgecomp.planning.plan import Candidate, Plan
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.recipes.constraints import Constraints


def planned(model: Path, device: str, **limits: object) -> Plan:
    return make_plan(read_model(model), find_device(device), Constraints.model_validate(limits))


def serves(purpose: Purpose, row: Candidate, chosen: Candidate) -> bool:
    match purpose:
        case "smaller":
            return row.file_bytes <= (1 - NOTICEABLE) * chosen.file_bytes
        case "faster":
            gain = row.speed.decode_tokens_per_second / chosen.speed.decode_tokens_per_second
            return gain >= 1 + NOTICEABLE
        case "closer to the source":
            return row.expected_divergence_nats < chosen.expected_divergence_nats
        case "longer context":
            return row.format == chosen.format and row.context > chosen.context


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("device", ["rtx-4060-8gb", "office-laptop-ddr4", "pixel-9"])
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-30B-A3B"])
def test_each_alternative_serves_its_purpose_and_could_be_made(
    header_only: Callable[[str], Path], name: str, device: str, task: str
) -> None:
    plan = planned(header_only(name), device, task=task)
    if plan.chosen is None:
        pytest.skip("nothing fits")
    chosen, found = plan.chosen, alternatives(plan)
    purposes = [purpose for row in found for purpose in row.purposes]
    assert len(found) <= 4 and len(set(purposes)) == len(purposes)
    for row in found:
        assert not row.candidate.rejections and row.candidate != chosen
        assert bool(row.candidate.placement.gpus) == bool(chosen.placement.gpus)
        for purpose in row.purposes:
            assert serves(purpose, row.candidate, chosen)
    assert ("loses least" in reason(plan)) == (
        chosen.expected_divergence_nats > TOLERATED_NATS[plan.constraints.task]
    )


def test_what_does_not_fit_is_told_with_what_the_nearest_needs(demo_gguf: Path) -> None:
    plan = planned(demo_gguf, "office-laptop-ddr4", max_size_bytes=95_000_000)
    text = what_does_not_fit(plan)
    assert text.startswith("Q3_K_L (97.53 MB) does not fit.")
    assert (
        "over the limit of 95 MB" in text
        and " Nor do " in text
        and "Q8_0" in text
        and "more" in text
    )


def test_where_everything_fits_nothing_is_told(demo_gguf: Path) -> None:
    assert what_does_not_fit(planned(demo_gguf, "office-laptop-ddr4")) == ""


def test_a_model_that_has_no_format_in_a_runtime_is_told_why(
    header_only: Callable[[str], Path],
) -> None:
    plan = make_plan(
        read_model(header_only("Qwen3-30B-A3B")),
        find_device("rtx-4060-8gb"),
        Constraints(),
        choices=Choices(runtime="onnx"),
    )
    assert plan.chosen is None
    assert plan.nearest and "onnx-optimum-int8" in plan.nearest
