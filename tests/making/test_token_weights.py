"""Token weights as a stage: measured once for all formats, where effort and rounding ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.calibration.calibration import CalibrationRecord
from edgecomp.common.events import Event, Noted, StageFinished
from edgecomp.common.tasks import Effort, Rounding
from edgecomp.making.calibration_rows import StoredCalibration
from edgecomp.making.compress_job import CompressionRequest, compress, compression_recipe
from edgecomp.making.token_weights import token_weights
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
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


def test_a_short_calibration_is_not_weighed_unless_a_recipe_says_so(
    tiny_model: Callable[..., Path],
) -> None:
    source = tiny_model("llama")
    recipe, heard = recipe_of(source, "Q4_0", effort="best"), list[Event]()
    run = Run(read_model(source, weights=True), recipe, None, heard.append)
    record = CalibrationRecord(
        mix=MIX, origins={}, rows=95, tokens_sha256="", template_sha256=None, warnings=()
    )
    tokens = StoredFile(path=source / "none.npy", sha256="")
    short = StoredCalibration(tokens=tokens, record=record)
    assert token_weights(run, source, short, []) is None
    (said,) = (event.text for event in heard if isinstance(event, Noted))
    assert "6,080 tokens" in said and "6,144" in said


def test_tokens_are_weighed_at_the_best_effort_by_solvers_unless_a_recipe_says_otherwise(
    tiny_model: Callable[..., Path],
) -> None:
    source = tiny_model("llama")
    best, default = (recipe_of(source, "Q4_0", effort=effort) for effort in ("best", "default"))
    assert best.weighs_tokens and not default.weighs_tokens
    assert not best.model_copy(update={"weigh_tokens": False}).weighs_tokens
    assert default.model_copy(update={"weigh_tokens": True}).weighs_tokens
    assert not recipe_of(source, "Q4_0", rounding="rtn", effort="best").weighs_tokens
