"""The types of an ONNX recipe's mix, matrix by matrix: measured, and chosen to fill its limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecomp.common.errors import ConstraintsImpossible
from edgecomp.common.events import Progress
from edgecomp.common.quantity import format_size
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity
from edgecomp.formats.expected_loss import error_worths, expected_loss
from edgecomp.formats.onnx_facts import onnx_artifact_bytes
from edgecomp.formats.onnx_formats import MIX_TYPES, onnx_data_bytes
from edgecomp.formats.onnx_mixture import OnnxMixture, Shared, stored_bytes
from edgecomp.making.calibration_rows import StoredCalibration
from edgecomp.making.mixed_precision import (
    Allocation,
    BitAllocation,
    filled,
    measured_sensitivities,
)
from edgecomp.models.onnx_folder import DATA, read_onnx_folder
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.run import Run
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.recipes.recipe import Recipe

CODES_GRAPH_BYTES = 600
"""What an operator with codes takes in a graph beyond one with floats, at most: its attributes, and
the names and places of its scales and zero points. 360 have been seen without zero points."""


def onnx_bit_allocation(
    run: Run,
    base: Path,
    checkpoint: Path,
    model: ModelSpec,
    calibration: StoredCalibration,
    done: list[Any],
) -> BitAllocation:
    """The types that lose least of `model`, the float `checkpoint` after the stages `done`, within
    the recipe's limits. `base`: the float export, whose other files are the artifact's but for what
    codes take in the graph.

    Raises ConstraintsImpossible where no mix is within them.
    """
    found = measured_sensitivities(run, checkpoint, calibration, MIX_TYPES, done)
    mixture = OnnxMixture(model)
    known = _completed(found, mixture)
    beside = read_onnx_folder(base).size_bytes - (base / DATA).stat().st_size
    beside += CODES_GRAPH_BYTES * len(mixture.shared)

    def work(folder: Path, progress: Progress) -> Allocation:
        return Allocation(types=_fill(known, mixture, run.recipe, beside))

    inputs = {
        "losses": known.model_dump(mode="json"),
        "beside": beside,
        "recipe": run.recipe.model_dump(
            mode="json", include={"format", "mix", "budget_bytes", "constraints", "settings"}
        ),
        "stages": done,
    }
    title = "Choosing each matrix's type"
    types = run.stage("allocation", title, Allocation, inputs, work).types
    return BitAllocation(types=types, sensitivities=known)


def _completed(measured: Sensitivities, mixture: OnnxMixture) -> Sensitivities:
    """With what matrices are expected to lose that nothing measures, or whose measures are not
    numbers."""
    losses = {tensor.name: tensor.losses for tensor in measured.tensors}
    worths = error_worths(mixture.model)
    rows = []
    for shared in mixture.shared:
        for part in shared.parts:
            kinds = shared.choices
            own = {kind: losses.get(part.name, {}).get(kind, math.nan) for kind in kinds}
            if not all(map(math.isfinite, own.values())):
                own = {kind: expected_loss(part, kind, worths) for kind in kinds}
            rows.append(TensorSensitivity(name=part.name, elements=part.elements, losses=own))
    return Sensitivities(tensors=tuple(rows))


def _fill(
    known: Sensitivities, mixture: OnnxMixture, recipe: Recipe, beside_bytes: int
) -> dict[str, str]:
    by_name = {tensor.name: tensor.losses for tensor in known.tensors}
    together = Sensitivities(tensors=tuple(_together(s, by_name) for s in mixture.shared))

    def excess(types: dict[str, str]) -> int:
        tensors = mixture.by_tensor(types)
        return max(_excesses(mixture.model, recipe, tensors, beside_bytes))

    smallest = {t.name: min(t.losses, key=t.size_bytes) for t in together.tensors}
    held = sum(t.size_bytes(smallest[t.name]) for t in together.tensors)
    over = excess(smallest)
    if over > 0:
        data = onnx_data_bytes(mixture.model, recipe.format, overrides=mixture.by_tensor(smallest))
        raise ConstraintsImpossible(
            f"The smallest mix of {recipe.format} has {format_size(data + beside_bytes)} with its "
            f"graph and tokenizer, {format_size(over)} more than the limits allow. Allow that "
            "much, or leave out blocks or neurons first."
        )
    return mixture.by_tensor(filled(together, held - over, excess))


def _together(shared: Shared, losses: dict[str, dict[str, float]]) -> TensorSensitivity:
    """What each type costs matrices that have one."""
    kinds = shared.choices
    return TensorSensitivity(
        name=shared.whole.name,
        elements=shared.whole.elements,
        losses={kind: sum(losses[part.name][kind] for part in shared.parts) for kind in kinds},
        sizes={kind: stored_bytes(shared.whole, kind) for kind in kinds},
    )


def _excesses(
    model: ModelSpec, recipe: Recipe, types: dict[str, str], beside_bytes: int
) -> Iterator[int]:
    """The bytes by which `types` pass each of the recipe's limits; below 0: room is left."""
    data, limits = onnx_data_bytes(model, recipe.format, overrides=types), recipe.constraints
    sizes = [size for size in (limits.max_size_bytes, recipe.budget_bytes) if size]
    if recipe.mix == "same-size" or not (sizes or limits.max_memory_bytes):
        yield data - onnx_data_bytes(model, recipe.format)
        return
    if limits.max_memory_bytes:
        memory = estimate_onnx_memory(model, recipe.format, recipe.settings, types)
        yield memory.total_bytes - limits.max_memory_bytes
    for size in sizes:
        yield data + beside_bytes - size


def check_onnx_size(model: ModelSpec, recipe: Recipe) -> None:
    """Raises ConstraintsImpossible, before any work, where no mix of `model` is within the recipe's
    limit of size; names the smallest."""
    limit = recipe.constraints.max_size_bytes
    if recipe.mix != "optimal" or not limit:
        return
    size = onnx_artifact_bytes(model, recipe.format, types=OnnxMixture(model).smallest_types)
    if size > limit:
        raise ConstraintsImpossible(
            f"--max-size {format_size(limit)} is too small for {recipe.format} of {model.name}: "
            f"its smallest file has about {format_size(size)}. Allow that much, or leave out "
            "blocks or neurons first."
        )
