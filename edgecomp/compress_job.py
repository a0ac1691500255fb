"""Compression alone: one method on one model, checked, without evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, get_args

from edgecomp.artifact_checks import CheckResult
from edgecomp.atomic import replacing
from edgecomp.calibration import CalibrationMix, CalibrationRecord
from edgecomp.constraints import Constraints
from edgecomp.detect import physical_cores
from edgecomp.errors import CompressionSettingsInvalid
from edgecomp.events import Listener
from edgecomp.format_facts import planned_file_bytes, tensor_types_of
from edgecomp.formats import PRESETS
from edgecomp.making import make_artifact
from edgecomp.model import read_model
from edgecomp.pipeline import Run
from edgecomp.recipe import PruneStage, Recipe, write_recipe
from edgecomp.runtimes.settings import RunSettings
from edgecomp.tasks import Rounding, Task
from edgecomp.value import Value

PRUNERS: tuple[str, ...] = get_args(PruneStage.model_fields["method"].annotation)
ROUNDINGS: tuple[str, ...] = get_args(Rounding)
METHODS = (*ROUNDINGS, *PRUNERS)


class Compressed(Value):
    """What `compress` made."""

    schema_version: Literal[1] = 1
    folder: Path
    file: str
    size_bytes: int
    types: dict[str, str]
    checks: tuple[CheckResult, ...]
    calibration: CalibrationRecord | None


def compression_recipe(
    model: str,
    method: str,
    format_name: str,
    sparsity: str,
    task: Task,
    mix: CalibrationMix,
    any_calibration: bool,
) -> Recipe:
    """The recipe of one method. Raises CompressionSettingsInvalid for a method or format that is
    none."""
    if method not in METHODS:
        raise CompressionSettingsInvalid(
            f"There is no method {method!r}. Known: {', '.join(METHODS)}."
        )
    if format_name not in PRESETS:
        raise CompressionSettingsInvalid(
            f"There is no format {format_name!r}. Known: {', '.join(PRESETS)}."
        )
    pruning = method in PRUNERS
    return Recipe.model_validate(
        {
            "model": model,
            "device": "auto",
            "constraints": Constraints(task=task),
            "runtime": "llama.cpp",
            "format": format_name,
            "stages": [{"method": method, "sparsity": sparsity}] if pruning else [],
            "rounding": "llama.cpp" if pruning else method,
            "settings": RunSettings(context=2048, threads=physical_cores()),
            "importance": not PRESETS[format_name].base.startswith(("F", "BF")),
            "calibration": mix,
            "any_calibration": any_calibration,
        }
    )


def compress(recipe: Recipe, output: Path, data: Path | None, listen: Listener) -> Compressed:
    """Carry out a recipe up to the checked artifact, and put it into the folder `output`."""
    model = read_model(recipe.model, weights=True)
    types = tensor_types_of(model, recipe.format, recipe.importance, recipe.tensor_types)
    run = Run(model, recipe, data, listen)
    artifact = make_artifact(run, planned_file_bytes(model, recipe.format, types))
    file = output / artifact.file.path.name
    with replacing(file) as temporary:
        shutil.copyfile(artifact.file.path, temporary)
    write_recipe(output / "recipe.yaml", recipe)
    return Compressed(
        folder=output,
        file=file.name,
        size_bytes=artifact.size_bytes,
        types=artifact.types,
        checks=artifact.checks,
        calibration=artifact.calibration,
    )
