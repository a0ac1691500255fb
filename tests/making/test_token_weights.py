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
def test_weights_are_measured_once_and_change_the_codes(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    source = tiny_model("llama")
    plain = recipe_of(source, "Q4_0")
    weighed = plain.model_copy(update={"weigh_tokens": True})
    unweighted, none = made(plain, tmp_path / "plain")
    weighted, (first,) = made(weighed, tmp_path / "weighed")
    assert not none and not first.cached
    assert len(weighted) == len(unweighted) and weighted != unweighted
    scaled = recipe_of(source, "Q5_0", rounding="awq+gptq")
    _, (again,) = made(scaled.model_copy(update={"weigh_tokens": True}), tmp_path / "scaled")
    assert again.cached


def test_tokens_are_weighed_by_solvers_where_a_recipe_says_so(
    tiny_model: Callable[..., Path],
) -> None:
    source = tiny_model("llama")
    best = recipe_of(source, "Q4_0", effort="best")
    assert not best.weighs_tokens
    assert best.model_copy(update={"weigh_tokens": True}).weighs_tokens
    nearest = recipe_of(source, "Q4_0", rounding="rtn")
    assert not nearest.model_copy(update={"weigh_tokens": True}).weighs_tokens
