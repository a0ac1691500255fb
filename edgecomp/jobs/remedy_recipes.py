"""Remedies as changed recipes: what to try after a verdict, in the order of the remedies.

Matching calibration first (R51, R97), since it costs no size; then less of it: a lower sparsity,
the next larger format; then mixed precision (R71); then another method at the same size, of which
the best effort of the one that rounded comes first. Pure: nothing is run here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_size
from edgecomp.common.tasks import Rounding, SourceName
from edgecomp.devices.finding import find_device
from edgecomp.evaluate.items import Category, bucket
from edgecomp.formats.format_facts import mixture_of, planned_file_bytes, tensor_types_of
from edgecomp.formats.gguf_mix import quantizable
from edgecomp.formats.presets import MIXTURE, PRESETS
from edgecomp.formats.solved_types import is_solved
from edgecomp.judging.remedies import DENSER_PERCENT, Kind, Remedy
from edgecomp.judging.verdict import Verdict
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.plan import Candidate
from edgecomp.planning.recipe_of_plan import recipe_for
from edgecomp.recipes.calibration_mix import MIXES, MOST_SAMPLES, TASK_SOURCES, CalibrationMix
from edgecomp.recipes.recipe import Recipe
from edgecomp.recipes.sparsity import denser, parse_sparsity
from edgecomp.recipes.stages import PruneStage, Stage, staged_model
from edgecomp.reporting.report import Report

MORE_SAMPLES, LEAST_MORE_SAMPLES = 3, 2
"""The weak category's samples are taken 3 x as often, or 2 x where 3 x is more than fits (R51)."""

GROWTH, LEAST_GROWTH = 1.15, 1.03
"""How much larger the next mixture is, and at least must be."""

OTHER_ROUNDINGS: tuple[Rounding, ...] = ("gptq", "awq+gptq")
ATTENTION_TYPE = "Q8_0"
FEED_FORWARD_TYPE = "Q4_K"
FEED_FORWARD_BITS = 4.0


class Step(FrozenModel):
    """One remedy carried over into a recipe."""

    kind: Kind
    text: str
    """The verdict's own words."""

    change: str
    """What differs from the recipe before."""

    recipe: Recipe


def next_step(report: Report, source: ModelSpec, tried: Sequence[Recipe]) -> Step | None:
    """The first remedy of the report's verdict that a recipe can carry out and `tried` does not
    hold; None where there is none. `source` is the model that the recipe compresses.

    Calibration is changed once: what it does not give back, more of the same will not.
    """
    recalibrated = len({recipe.calibration.model_dump_json() for recipe in tried}) > 1
    for remedy in report.verdict.remedies:
        if remedy.kind == "recalibrate" and recalibrated:
            continue
        for change, recipe in _recipes(remedy, report, source):
            if recipe not in tried:
                return Step(kind=remedy.kind, text=remedy.text, change=change, recipe=recipe)
    return None


def _recipes(remedy: Remedy, report: Report, source: ModelSpec) -> Iterator[tuple[str, Recipe]]:
    recipe = report.recipe
    weak = weak_categories(report.verdict)
    if remedy.kind == "recalibrate" and recipe.importance and weak:
        mix = recalibrated_mix(recipe.calibration, weak)
        change = f"calibration {_listed(recipe.calibration)} -> {_listed(mix)}"
        # What each type costs is measured on the calibration: a mix is chosen anew.
        types = {} if recipe.mix else recipe.tensor_types
        yield change, recipe.model_copy(update={"calibration": mix, "tensor_types": types})
    if remedy.kind == "compress less":
        yield from _denser(recipe)
        yield from _larger_mixture(report, source)
        for row in larger_formats(report):
            change = f"format {recipe.format} -> {row.format}"
            fresh = recipe_for(recipe.model, recipe.device, recipe.constraints, row)
            update = {
                "format": row.format,
                "rounding": fresh.rounding,
                "importance": fresh.importance,
                "tensor_types": {},
                "mix": fresh.mix,
            }
            yield change, recipe.model_copy(update=update)
    if remedy.kind == "mixed precision" and recipe.format in PRESETS:
        made = staged_model(source, recipe.stages)
        types = attention_at_eight_bits(made, recipe)
        size = planned_file_bytes(
            made,
            recipe.format,
            tensor_types_of(made, recipe.format, importance=recipe.importance, overrides=types),
        )
        limit = recipe.constraints.max_size_bytes
        if types and (limit is None or size + source.projector_bytes <= limit):
            change = f"attention at 8 bits, feed-forward at 4 or more ({format_size(size)})"
            update = {"tensor_types": types, "mix": None}
            yield change, recipe.model_copy(update=update)
    if remedy.kind == "other method" and is_solved(recipe.format):
        if recipe.rounding != "llama.cpp" and recipe.effort != "best":
            change = f"effort best instead of {recipe.effort}"
            yield change, recipe.model_copy(update={"effort": "best"})
        for rounding in OTHER_ROUNDINGS:
            change = f"rounding by {rounding} instead of {recipe.rounding}"
            yield change, recipe.model_copy(update={"rounding": rounding})


def _larger_mixture(report: Report, source: ModelSpec) -> Iterator[tuple[str, Recipe]]:
    """The mixture of more bytes, as far as the limits and the device's memories leave room and more
    bytes lose less."""
    recipe, chosen = report.recipe, report.chosen
    if recipe.format != MIXTURE:
        return
    now = recipe.budget_bytes or chosen.file_bytes
    mixture = mixture_of(staged_model(source, recipe.stages))
    most = mixture.frontier().largest_bytes + mixture.overhead_bytes
    budget = min(int(GROWTH * now), most, now + _spare_bytes(report))
    if recipe.constraints.max_size_bytes:
        budget = min(budget, recipe.constraints.max_size_bytes - source.projector_bytes)
    if budget >= LEAST_GROWTH * now:
        change = f"a mixture of {format_size(budget)} instead of {format_size(now)}"
        update = {"budget_bytes": budget, "tensor_types": {}, "mix": "optimal"}
        yield change, recipe.model_copy(update=update)


def _spare_bytes(report: Report) -> int:
    """What the fullest memory of the device has left, and what --max-memory leaves."""
    chosen, device = report.chosen, find_device(report.recipe.device)
    spare = [device.pool(name).usable_bytes - used for name, used in chosen.pool_bytes.items()]
    if report.recipe.constraints.max_memory_bytes:
        spare.append(report.recipe.constraints.max_memory_bytes - chosen.memory.total_bytes)
    return max(min(spare), 0)


def _denser(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """The recipe with less pruned by each stage that sets a share to zero (R40, R50)."""
    stages: list[Stage] = []
    changes = []
    for stage in recipe.stages:
        if isinstance(stage, PruneStage):
            lower = denser(parse_sparsity(stage.sparsity), DENSER_PERCENT)
            if lower is None:
                return
            changes.append(f"sparsity {stage.sparsity} -> {lower}")
            stage = stage.model_copy(update={"sparsity": str(lower)})
        stages.append(stage)
    if changes:
        yield ", ".join(changes), recipe.model_copy(update={"stages": tuple(stages)})


def weak_categories(verdict: Verdict) -> set[Category]:
    """What the verdict found lost; reasoning as well where knowledge bias is flagged."""
    weak = {row.category for row in verdict.findings if row.status == "lost" and row.category}
    return weak | {"reasoning"} if verdict.knowledge_bias == "flagged" else weak


def recalibrated_mix(mix: CalibrationMix, weak: set[Category]) -> CalibrationMix:
    """The mix with 2-3 x the samples of each weak category, of at most 512 where that is possible
    (R31, R51).

    A source that the mix lacks joins with its share of the category's own preset, which for
    reasoning gives the 256/128/128 mix from generic text (R87-R90). Where even 2 x is too much, the
    other sources give way, down to none.
    """
    wanted: dict[SourceName, int] = {}
    for category in weak:
        preset = MIXES[bucket(category)]
        for name in TASK_SOURCES[bucket(category)]:
            if not mix.samples.get(name):
                wanted[name] = max(wanted.get(name, 0), preset.get(name, 0))
    held = {
        name
        for category in weak
        for name in TASK_SOURCES[bucket(category)]
        if mix.samples.get(name)
    }
    for factor in (MORE_SAMPLES, LEAST_MORE_SAMPLES):
        raised = wanted | {name: factor * mix.samples[name] for name in held}
        others = {name: count for name, count in mix.samples.items() if name not in raised}
        if sum(raised.values()) + sum(others.values()) <= MOST_SAMPLES:
            break
    room = max(MOST_SAMPLES - sum(raised.values()), 0)
    share = min(room / max(sum(others.values()), 1), 1.0)
    samples = others | raised
    samples = {name: int(n * share) if name in others else n for name, n in samples.items()}
    kept = {name: count for name, count in sorted(samples.items()) if count}
    return mix.model_copy(update={"samples": kept})


def larger_formats(report: Report) -> list[Candidate]:
    """The plan's candidates that meet every constraint at the same context and place, are larger,
    and are expected to lose less: the next one first."""
    chosen = report.chosen
    return sorted(
        (
            row
            for row in report.others
            if row.context == chosen.context
            and bool(row.placement.gpus) == bool(chosen.placement.gpus)
            and row.file_bytes > chosen.file_bytes
            and row.expected_divergence_nats < chosen.expected_divergence_nats
        ),
        key=lambda row: row.file_bytes,
    )


def attention_at_eight_bits(made: ModelSpec, recipe: Recipe) -> dict[str, str]:
    """Types of single tensors of the model that the recipe's stages make: attention at 8 bits,
    feed-forward at 4 where the format gives it less (R71). Empty where the format already keeps
    attention at 8 or more."""
    now = tensor_types_of(
        made, recipe.format, importance=recipe.importance, overrides=recipe.tensor_types
    )
    types = {}
    for tensor in made.tensors:
        bits = TENSOR_TYPES[now[tensor.name]].bits_per_weight
        if not quantizable(tensor):
            continue
        if tensor.group == "attention" and bits < TENSOR_TYPES[ATTENTION_TYPE].bits_per_weight:
            types[tensor.name] = ATTENTION_TYPE
        if tensor.group == "ffn" and bits < FEED_FORWARD_BITS:
            types[tensor.name] = FEED_FORWARD_TYPE
    raised = any(kind == ATTENTION_TYPE for kind in types.values())
    return recipe.tensor_types | types if raised else {}


def _listed(mix: CalibrationMix) -> str:
    return " + ".join(f"{count} {name}" for name, count in mix.samples.items())
