"""What stages cost is known before they start, and grows with what they do (R19, R101)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecomp.devices.finding import find_device
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.plan import StageCost
from edgecomp.planning.planner import make_plan
from edgecomp.planning.recipe_of_plan import Choices
from edgecomp.planning.stage_cost import START_SECONDS, TorchRate, sensitivity_cost, stage_costs
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.distillation import target_bytes
from edgecomp.recipes.stages import DistillStage, PruneStage, Stage, StructuredStage

RATE = TorchRate(flops=1e9, basis="formula")


@pytest.fixture(scope="module")
def model(tiny_model: Callable[..., Path]) -> ModelSpec:
    return read_model(tiny_model("llama-deep"))


def costs(model: ModelSpec, *stages: Stage) -> dict[str, StageCost]:
    return {cost.stage: cost for cost in stage_costs(model, stages, RATE)}


def test_every_stage_is_costed_in_order(model: ModelSpec) -> None:
    found = costs(
        model,
        StructuredStage(blocks="2"),
        PruneStage(method="sparsegpt"),
        DistillStage(minutes=10),
    )
    names = ["structured pruning", "pruning", "teacher's logits", "distillation"]
    assert list(found) == names
    assert found["distillation"].seconds == START_SECONDS + 600
    assert found["distillation"].basis == "the budget"
    # Pruning sees what is left of the blocks.
    assert found["pruning"].disk_bytes == found["structured pruning"].disk_bytes


def test_twice_the_steps_take_twice_the_operations(model: ModelSpec) -> None:
    one, two, four = (
        costs(model, StructuredStage(blocks="2"), DistillStage(steps=n))["distillation"].seconds
        for n in (100, 200, 400)
    )
    assert four - two == pytest.approx(2 * (two - one))


def test_types_with_zero_points_take_longer_to_compare(model: ModelSpec) -> None:
    plain, zeros = (
        sensitivity_cost(model, [kind] * 4, 1024, 128, RATE).seconds
        for kind in ("INT4_32", "UINT4_32")
    )
    assert zeros > plain


def test_the_disk_of_the_targets_is_that_of_their_files(model: ModelSpec) -> None:
    """Top 8 of 64 tokens: ids int32, log-probabilities float16, two states float16."""
    arrays = [
        np.empty((64, 8), np.int32),
        np.empty((64, 8), np.float16),
        *[np.empty((64, model.embedding_length), np.float16)] * 2,
    ]
    assert target_bytes(model, 64, 8) == sum(array.nbytes for array in arrays)


def test_a_plan_with_stages_is_of_the_smaller_model_and_tells_their_cost(model: ModelSpec) -> None:
    stages = [StructuredStage(blocks="2"), DistillStage(minutes=10)]
    device, constraints = find_device("office-laptop-ddr4"), Constraints(context=256)
    whole, smaller = (
        make_plan(model, device, constraints, choices=Choices(stages=rows)) for rows in ([], stages)
    )
    assert smaller.parameters < whole.parameters
    assert smaller.job is not None and smaller.chosen is not None
    assert {"structured pruning", "distillation"} <= {s.stage for s in smaller.job.stages}
    kept = {family.name: family.kept for family in smaller.families}
    assert kept["pruning"] and kept["distillation"]
    sizes = {row.format: row.file_bytes for row in whole.candidates}
    assert all(row.file_bytes < sizes[row.format] for row in smaller.candidates)
