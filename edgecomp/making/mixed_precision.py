"""The types of a recipe's mix: measured and chosen to fill the limits, or set by a fixed rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.common.errors import ConstraintsImpossible
from edgecomp.common.events import Noted, Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import MEASURED_MIXES, SOLVING, Rounding
from edgecomp.compress.bit_allocation import Sensitivities, TensorSensitivity, named_mix
from edgecomp.devices.finding import find_device
from edgecomp.formats.expected_loss import SOLVED_SHARE, TOLERATED_NATS, error_worths, expected_loss
from edgecomp.formats.format_facts import (
    facts_of_types,
    mixture_of,
    planned_file_bytes,
    tensor_types_of,
)
from edgecomp.formats.layered_weights import gives_logits, layered_weights
from edgecomp.formats.mixture import mixture_choices
from edgecomp.formats.presets import MIXTURE
from edgecomp.formats.solved_types import SOLVED_TYPES
from edgecomp.formats.type_frontier import Loss
from edgecomp.formats.type_frontier import file_bytes as type_bytes
from edgecomp.making.calibration_rows import StoredCalibration
from edgecomp.making.learned import losses_of_tensors
from edgecomp.models.huggingface.model import gguf_names
from edgecomp.models.learned_layout import LearnedLayout
from edgecomp.models.spec import EMBEDDING, OUTPUT, ModelSpec, TensorSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.pipeline.run import Run
from edgecomp.planning.fast_types import FastTypes, decode_seconds, fast_enough
from edgecomp.planning.kernels import without_kernels
from edgecomp.planning.memory import estimate_memory
from edgecomp.planning.offload import placement_of
from edgecomp.planning.plan import Candidate
from edgecomp.planning.planner import candidate_for_placement
from edgecomp.planning.recipe_of_plan import effective_constraints
from edgecomp.planning.speed import cpu_seconds
from edgecomp.recipes.calibration_mix import CARRIED_ROWS, SENSITIVITY_ROWS
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import Recipe
from edgecomp.torch_worker.client import TorchWorker

ENDS = (EMBEDDING, OUTPUT)
"""What a mix chooses types for outside the blocks."""


class BitAllocation(FrozenModel):
    """The types that a mix chose, and what each type would have cost."""

    types: dict[str, str]
    sensitivities: Sensitivities | None
    """None where a fixed rule chose."""


def bit_allocation(
    run: Run,
    model: ModelSpec,
    checkpoint: Path | None,
    calibration: StoredCalibration,
    done: list[Any],
    layout: LearnedLayout | None = None,
) -> BitAllocation | None:
    """The recipe's mix for `model`, the float file of `checkpoint`, after the stages `done`; None
    where the format keeps its own types, since the plan would not take the mixture. Without a
    checkpoint nothing is measured, and what each type costs is what the plan expects.

    Raises ConstraintsImpossible where the mix is larger than the limits of size and memory.
    """
    recipe = run.recipe
    if recipe.mix and recipe.mix not in MEASURED_MIXES:
        return BitAllocation(types=named_mix(recipe.mix, model), sensitivities=None)

    if checkpoint is None:
        found = Sensitivities(tensors=())
    else:
        found = measured_sensitivities(run, checkpoint, calibration, SOLVED_TYPES, done)
        if layout is not None:
            found = losses_of_tensors(found, layout, model, gguf_names(checkpoint))
    known = _completed(found, model, recipe)
    if not recipe.stages:
        known = _with_own_types(known, run.model)
    runnable = _with_kernels(known, recipe)
    same_size = recipe.mix == "same-size"
    weighed = speed_weighted(model, recipe, runnable) if same_size else runnable
    types = _allocate(run, model, weighed, done)
    if not same_size:
        return BitAllocation(types=types, sensitivities=known)
    refused = candidate_with_types(model, recipe, types).rejections
    if refused:
        run.listen(Noted(text=f"{recipe.format} keeps its own types, unmixed: {refused[0].text}"))
        return None
    return BitAllocation(types=types, sensitivities=known)


def measured_sensitivities(
    run: Run,
    checkpoint: Path,
    calibration: StoredCalibration,
    types: Sequence[str],
    done: list[Any],
) -> Sensitivities:
    """What each of `types` costs each tensor of the checkpoint that the stages `done` left."""

    def work(folder: Path, progress: Progress) -> Sensitivities:
        found = run.in_torch(
            "sensitivities",
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            types=list(types),
            rows=SENSITIVITY_ROWS,
            carried_rows=CARRIED_ROWS,
        )
        return Sensitivities.model_validate(found)

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "rows": [SENSITIVITY_ROWS, CARRIED_ROWS],
        "types": types,
        "stages": done,
        "threads": run.threads,
    }
    title = "Measuring what each type costs each tensor"
    return run.stage("sensitivities", title, Sensitivities, inputs, work, any_runtime=True)


def _with_own_types(sensitivities: Sensitivities, source: ModelSpec) -> Sensitivities:
    """Tensors that keep their source's type keep every bit, whatever rounding to it again lost."""
    kinds = {tensor.name: tensor.dtype for tensor in source.tensors}
    tensors = [
        tensor.model_copy(update={"losses": tensor.losses | {kinds[tensor.name]: 0.0}})
        if kinds.get(tensor.name) in tensor.losses
        else tensor
        for tensor in sensitivities.tensors
    ]
    return Sensitivities(tensors=tuple(tensors))


def _completed(measured: Sensitivities, model: ModelSpec, recipe: Recipe) -> Sensitivities:
    """With what matrices are expected to lose that nothing measures, such as those of a mixture
    that are looked up by layer, or whose measures are not numbers."""
    finite = [t for t in measured.tensors if all(map(math.isfinite, t.losses.values()))]
    known, worths = {tensor.name for tensor in finite}, error_worths(model)
    choices = mixture_choices(model)
    if recipe.format != MIXTURE:
        names = {tensor.name for tensor in measured.tensors}
        choices = {name: kinds for name, kinds in choices.items() if name in names}
    predicted = (
        TensorSensitivity(
            name=tensor.name,
            elements=tensor.elements,
            losses={kind: expected_loss(tensor, kind, worths) for kind in choices[tensor.name]},
        )
        for tensor in model.tensors
        if tensor.name in choices and tensor.name not in known
    )
    return Sensitivities(tensors=(*finite, *predicted))


class Allocation(FrozenModel):
    """The types that fill the limits best."""

    types: dict[str, str]


def _allocate(
    run: Run, model: ModelSpec, weighed: Sensitivities, done: list[Any]
) -> dict[str, str]:
    """The types that fill the limits, kept as a stage."""
    rates = find_device(run.recipe.device).kernel_rates
    limited = run.recipe.constraints.min_decode_tokens_per_second is not None

    def work(folder: Path, progress: Progress) -> Allocation:
        return Allocation(types=_fast_enough(model, run.recipe, weighed))

    inputs = {
        "losses": weighed.model_dump(mode="json"),
        "recipe": run.recipe.model_dump(
            mode="json",
            include={"format", "importance", "mix", "budget_bytes", "constraints", "settings"},
        ),
        "worker": rates.worker_bytes if rates else None,
        "speeds": (rates.corrected_at or rates.measured_at) if rates and limited else None,
        "stages": done,
    }
    title = "Choosing each tensor's type"
    return run.stage("allocation", title, Allocation, inputs, work).types


def _with_kernels(sensitivities: Sensitivities, recipe: Recipe) -> Sensitivities:
    """Without the types that the recipe's runtime has no kernels for where it puts the weights."""
    device = find_device(recipe.device)
    place = placement_of(recipe.settings, device)
    missing = without_kernels(SOLVED_TYPES, device, recipe.runtime, place)
    tensors = [
        tensor.model_copy(
            update={"losses": {k: loss for k, loss in tensor.losses.items() if k not in missing}}
        )
        for tensor in sensitivities.tensors
    ]
    return Sensitivities(tensors=tuple(tensor for tensor in tensors if tensor.losses))


def _fast_enough(model: ModelSpec, recipe: Recipe, sensitivities: Sensitivities) -> dict[str, str]:
    """What `fill_budget` gives; where that decodes slower than the recipe asks for, seconds are
    weighed against losses."""
    types = fill_budget(model, recipe, sensitivities)
    needed = recipe.constraints.min_decode_tokens_per_second
    if recipe.mix != "optimal" or not needed:
        return types

    def speed(types: Mapping[str, str]) -> float:
        return candidate_with_types(model, recipe, dict(types)).speed.decode_tokens_per_second

    if speed(types) >= needed:
        return types
    device = find_device(recipe.device)
    seconds = decode_seconds(model, device, placement_of(recipe.settings, device))
    losses = {tensor.name: tensor.losses for tensor in sensitivities.tensors}
    tensors = [tensor for tensor in model.tensors if tensor.name in losses]

    def loss(tensor: TensorSpec, kind: str) -> float:
        return losses[tensor.name][kind]

    def chosen(worth: float) -> dict[str, str]:
        weighed = _with_added(model, sensitivities, lambda t, kind: worth * seconds(t, kind))
        return fill_budget(model, recipe, weighed)

    held = sum(type_bytes(tensor, types[tensor.name]) for tensor in tensors)
    room = held - _excess_bytes(model, recipe, types)
    found = fast_enough(tensors, FastTypes(chosen, speed, needed, room), loss, seconds)
    return found or types


def _with_added(model: ModelSpec, sensitivities: Sensitivities, added: Loss) -> Sensitivities:
    """To each loss is added what else its type costs, in nats."""
    specs = {tensor.name: tensor for tensor in model.tensors}
    weighed = []
    for tensor in sensitivities.tensors:
        spec = specs[tensor.name]
        losses = {kind: loss + added(spec, kind) for kind, loss in tensor.losses.items()}
        weighed.append(tensor.model_copy(update={"losses": losses}))
    return Sensitivities(tensors=tuple(weighed))


def fill_budget(model: ModelSpec, recipe: Recipe, sensitivities: Sensitivities) -> dict[str, str]:
    """The types with the least expected loss that keep the recipe's limits of size and memory;
    without a limit, or where its mix is to be of the same size, whose file is no larger than the
    recipe's format itself makes it."""
    smallest = {t.name: min(t.losses, key=t.size_bytes) for t in sensitivities.tensors}
    held = sum(t.size_bytes(smallest[t.name]) for t in sensitivities.tensors)
    budget = held - _excess_bytes(model, recipe, smallest)
    # Each tensor is padded to the file's alignment, which the allocation does not count.
    return filled(sensitivities, budget, lambda types: _excess_bytes(model, recipe, types))


def filled(
    sensitivities: Sensitivities, budget_bytes: int, excess: Callable[[dict[str, str]], int]
) -> dict[str, str]:
    """The types with the least loss in `budget_bytes`, or in what less it takes for `excess` to be
    none: the bytes by which types pass a limit."""
    measured = sensitivities.model_dump(mode="json")
    # The solver is native code: a worker may crash, and print what it likes.
    worker = TorchWorker()
    with worker.kept():
        while True:
            types: dict[str, str] = worker.call(
                "allocate", ignore_progress, sensitivities=measured, budget_bytes=budget_bytes
            )
            over = excess(types)
            if over <= 0:
                return types
            budget_bytes -= over


def _excess_bytes(model: ModelSpec, recipe: Recipe, types: dict[str, str]) -> int:
    """Bytes by which these types pass the nearest of the recipe's limits; below 0: room is left."""
    limits = Constraints() if recipe.mix == "same-size" else recipe.constraints
    excess = []
    if limits.max_memory_bytes:
        excess.append(memory_bytes(model, recipe, types) - limits.max_memory_bytes)
    left = (limits.max_size_bytes or 0) - model.projector_bytes
    sizes = [
        size
        for size in (left if limits.max_size_bytes else None, recipe.budget_bytes)
        if size is not None
    ]
    if sizes or not excess:
        most = min(sizes) if sizes else file_bytes(model, recipe, {})
        excess.append(file_bytes(model, recipe, types) - most)
    return max(excess)


def file_bytes(model: ModelSpec, recipe: Recipe, types: dict[str, str]) -> int:
    """The size of the recipe's file where these tensors have these types."""
    full = tensor_types_of(model, recipe.format, importance=recipe.importance, overrides=types)
    return planned_file_bytes(model, recipe.format, full)


def memory_bytes(model: ModelSpec, recipe: Recipe, types: dict[str, str]) -> int:
    """The peak memory of the recipe's file, run with its settings on its device, where these
    tensors have these types."""
    full = tensor_types_of(model, recipe.format, importance=recipe.importance, overrides=types)
    rates = find_device(recipe.device).kernel_rates
    worker_bytes = rates.worker_bytes if rates else None
    stored_bytes = layered_weights(model, full).stored_bytes
    return estimate_memory(model, stored_bytes, recipe.settings, worker_bytes).total_bytes


def refined_loss(mixture: BitAllocation, rounding: Rounding) -> float | None:
    """The expected divergence of the chosen types by what was measured of each, in nats a token;
    None where a fixed rule chose them."""
    if mixture.sensitivities is None:
        return None
    share = SOLVED_SHARE if rounding in SOLVING else 1.0
    tensors = mixture.sensitivities.tensors
    return share * sum(t.losses[mixture.types[t.name]] for t in tensors if t.name in mixture.types)


def speed_weighted(model: ModelSpec, recipe: Recipe, sensitivities: Sensitivities) -> Sensitivities:
    """To each loss is added what the slowness of its type is worth, in nats. As in the plan, all
    that the task tolerates buys a doubling of the speed: here of decoding and of reading a prompt,
    half each. A card's kernels are taken to be equally fast.
    """
    device = find_device(recipe.device)
    if placement_of(recipe.settings, device).gpus:
        return sensitivities
    speed = candidate_with_types(model, recipe, {}).speed
    nats = TOLERATED_NATS[recipe.constraints.task] / (2 * math.log(2))

    def slowness(tensor: TensorSpec, kind: str) -> float:
        inside = tensor.layer is not None
        if not inside and not gives_logits(tensor, model):
            return 0.0
        size = TENSOR_TYPES[kind].size_bytes(tensor.elements)
        decode, prefill = cpu_seconds(kind, size, tensor.elements, device)
        read = prefill * speed.prefill_tokens_per_second if inside else 0.0
        return nats * model.used_share(tensor) * (decode * speed.decode_tokens_per_second + read)

    return _with_added(model, sensitivities, slowness)


def candidate_with_types(model: ModelSpec, recipe: Recipe, types: dict[str, str]) -> Candidate:
    """The plan's candidate of a file of these types, placed and run as the recipe says."""
    device = find_device(recipe.device)
    facts = facts_of_types(model, recipe.format, types)
    place, constraints = placement_of(recipe.settings, device), effective_constraints(recipe)
    return candidate_for_placement(model, device, constraints, facts, place, recipe.settings)


def expected_types(model: ModelSpec, recipe: Recipe) -> dict[str, str]:
    """The types of a mixture that are expected to lose least within the recipe's limits, before
    anything is measured."""
    mixture = mixture_of(model)
    frontier = mixture.frontier()
    excess = _excess_bytes(model, recipe, frontier.within(0))
    return frontier.within(frontier.smallest_bytes - excess)


def check_size_budget(model: ModelSpec, recipe: Recipe) -> None:
    """Raises ConstraintsImpossible, before any work, where no mix of `model` is small enough for
    the limits of size and memory; names the smallest."""
    limits = recipe.constraints
    # Of the same size it is as small as the format, which the plan took.
    if recipe.mix in (None, "same-size") or not (limits.max_size_bytes or limits.max_memory_bytes):
        return
    types = (
        _smallest_types(model, recipe) if recipe.mix == "optimal" else named_mix(recipe.mix, model)
    )
    size = file_bytes(model, recipe, types)
    if limits.max_size_bytes and size + model.projector_bytes > limits.max_size_bytes:
        raise ConstraintsImpossible(
            f"--max-size {format_size(limits.max_size_bytes)} is too small for the mix "
            f"{recipe.mix} on {recipe.format}: its smallest file has {format_size(size)} "
            f"({size:,} bytes){_with_projector(model)}. {_outside(recipe)}"
        )
    if not limits.max_memory_bytes:
        return
    memory = memory_bytes(model, recipe, types)
    if memory > limits.max_memory_bytes:
        raise ConstraintsImpossible(
            f"--max-memory {format_size(limits.max_memory_bytes)} is too small for the mix "
            f"{recipe.mix} on {recipe.format}: at {recipe.settings.context:,} tokens of context "
            f"its smallest file needs {format_size(memory)}, of which {format_size(memory - size)} "
            "are not weights. A smaller --context helps."
        )


def _with_projector(model: ModelSpec) -> str:
    beside = model.projector_bytes
    return f", and its projector beside it {format_size(beside)}" if beside else ""


def _outside(recipe: Recipe) -> str:
    if recipe.mix == "optimal":
        return "Allow that much, or leave out blocks or neurons first."
    return f"What lies outside the blocks keeps {recipe.format}'s types: a smaller --format helps."


def _smallest_types(model: ModelSpec, recipe: Recipe) -> dict[str, str]:
    """The fewest bits that the best mix can give each tensor."""
    every = recipe.format == MIXTURE
    return {
        name: min(kinds, key=_bits)
        for name, kinds in mixture_choices(model).items()
        if every or name.startswith("blk.") or name in ENDS
    }


def _bits(kind: str) -> float:
    return TENSOR_TYPES[kind].bits_per_weight
