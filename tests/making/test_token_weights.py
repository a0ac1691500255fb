"""Token weights as a stage: measured once for all formats, where effort and rounding ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.common.events import Event, StageFinished
from edgecomp.common.tasks import Effort, Rounding
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.recipe import Recipe

MIX = CalibrationMix(samples={"math": 24, "instructions": 16}, row_tokens=64)


def recipe_of(
    source: Path, format_name: str, *, rounding: Rounding = "gptq", effort: Effort = "default"
) -> Recipe:
    return compression_recipe(
        CompressionRequest(
            model=str(source), method=rounding, format=format_name, calibration=MIX, effort=effort
        )
    )


def made(recipe: Recipe, folder: Path) -> tuple[bytes, list[StageFinished]]:
    """The file, and the stage that weighs tokens, if it was there."""
    heard: list[Event] = []
    done = compress(recipe, folder, None, heard.append)
    weighed = [e for e in heard if isinstance(e, StageFinished) and e.stage == "token-weights"]
    return (done.folder / done.file).read_bytes(), weighed


@pytest.mark.usefixtures("lasting_torch")
def test_weights_change_the_codes_and_no_size(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny_model("llama")
    plain = recipe_of(source, "Q4_0")
    weighed = plain.model_copy(update={"weigh_tokens": True})
    unweighted, none = made(plain, tmp_path / "plain")
    weighted, (first,) = made(weighed, tmp_path / "weighed")
    assert not none and not first.cached
    assert len(weighted) == len(unweighted) and weighted != unweighted


@pytest.mark.slow
@pytest.mark.usefixtures("lasting_torch")
def test_weights_are_measured_once_for_all_formats(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny_model("llama")
    recipes = (recipe_of(source, "Q4_0"), recipe_of(source, "Q5_0", rounding="awq+gptq"))
    stages = [
        stage
        for recipe in recipes
        for stage in made(
            recipe.model_copy(update={"weigh_tokens": True}), tmp_path / recipe.format
        )[1]
    ]
    assert [stage.cached for stage in stages] == [False, True]


def test_tokens_are_weighed_at_the_best_effort_by_solvers_unless_a_recipe_says_otherwise(
    tiny_model: Callable[..., Path],
) -> None:
    source = tiny_model("llama")
    best, default = (recipe_of(source, "Q4_0", effort=effort) for effort in ("best", "default"))
    assert best.weighs_tokens and not default.weighs_tokens
    assert not best.model_copy(update={"weigh_tokens": False}).weighs_tokens
    assert default.model_copy(update={"weigh_tokens": True}).weighs_tokens
    assert not recipe_of(source, "Q4_0", rounding="rtn", effort="best").weighs_tokens
