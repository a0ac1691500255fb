"""The types of a recipe's mix: measured and chosen to fill the size, or set by a fixed rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.calibrating import StoredCalibration
from edgecomp.compress.bit_allocation import Sensitivities, allocate, named_mix
from edgecomp.errors import ConstraintsImpossible
from edgecomp.events import Progress
from edgecomp.format_facts import planned_file_bytes, tensor_types_of
from edgecomp.formats import TENSOR_TYPES
from edgecomp.gguf.mix import quantizable
from edgecomp.model import ModelSpec
from edgecomp.pipeline import Run
from edgecomp.quantity import format_size
from edgecomp.recipe import SOLVED_TYPES, Recipe
from edgecomp.value import Value

SENSITIVITY_ROWS = 16
"""Of the calibration: a few thousand tokens rank the tensors."""


class Mixture(Value):
    """The types that a mix chose, and what each type would have cost."""

    types: dict[str, str]
    sensitivities: Sensitivities | None
    """None where a fixed rule chose."""


def mixture(
    run: Run, model: ModelSpec, checkpoint: Path, calibration: StoredCalibration, done: list[Any]
) -> Mixture:
    """The recipe's mix for `model`, the float file of `checkpoint`, after the stages `done`.

    Raises ConstraintsImpossible where the mix is larger than the size limit.
    """
    recipe = run.recipe
    if recipe.mix and recipe.mix != "optimal":
        return Mixture(types=named_mix(recipe.mix, model), sensitivities=None)

    def work(folder: Path, progress: Progress) -> Sensitivities:
        found = run.in_torch(
            "sensitivities",
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            types=list(SOLVED_TYPES),
            rows=SENSITIVITY_ROWS,
        )
        return Sensitivities.model_validate(found)

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "rows": SENSITIVITY_ROWS,
        "types": SOLVED_TYPES,
        "stages": done,
        "threads": run.threads,
    }
    title = "Measuring what each type costs each tensor"
    found = run.stage("sensitivities", title, Sensitivities, inputs, work)
    return Mixture(types=filled(model, recipe, found), sensitivities=found)


def filled(model: ModelSpec, recipe: Recipe, sensitivities: Sensitivities) -> dict[str, str]:
    """The types with the least expected loss whose file is no larger than the size limit; without a
    limit, than the recipe's format itself makes it."""
    limit = recipe.constraints.max_size_bytes or file_bytes(model, recipe, {})
    smallest = {t.name: min(t.losses, key=t.size_bytes) for t in sensitivities.tensors}
    held = sum(t.size_bytes(smallest[t.name]) for t in sensitivities.tensors)
    budget = limit - (file_bytes(model, recipe, smallest) - held)
    while True:
        types = allocate(sensitivities, budget)
        # Each tensor is padded to the file's alignment, which the allocation does not count.
        over = file_bytes(model, recipe, types) - limit
        if over <= 0:
            return types
        budget -= over


def file_bytes(model: ModelSpec, recipe: Recipe, types: dict[str, str]) -> int:
    """The size of the recipe's file where these tensors have these types."""
    full = tensor_types_of(model, recipe.format, recipe.importance, types)
    return planned_file_bytes(model, recipe.format, full)


def require_room(model: ModelSpec, recipe: Recipe) -> None:
    """Raises ConstraintsImpossible, before any work, where no mix of `model` is small enough for
    the size limit; names the smallest."""
    limit = recipe.constraints.max_size_bytes
    if recipe.mix is None or limit is None:
        return
    if recipe.mix == "optimal":
        types = {
            tensor.name: min(_usable(tensor.shape[-1]), key=_bits)
            for tensor in model.tensors
            if tensor.name.startswith("blk.") and quantizable(tensor)
            if _usable(tensor.shape[-1])
        }
    else:
        types = named_mix(recipe.mix, model)
    least = file_bytes(model, recipe, types)
    if least > limit:
        raise ConstraintsImpossible(
            f"--max-size {format_size(limit)} is too small for the mix {recipe.mix} on "
            f"{recipe.format}: its smallest file has {format_size(least)} ({least:,} bytes). What "
            f"lies outside the blocks keeps {recipe.format}'s types: a smaller --format helps."
        )


def _usable(columns: int) -> list[str]:
    return [kind for kind in SOLVED_TYPES if columns % TENSOR_TYPES[kind].block_elements == 0]


def _bits(kind: str) -> float:
    return TENSOR_TYPES[kind].bits_per_weight
