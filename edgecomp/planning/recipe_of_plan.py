"""The recipe that makes a plan's candidate, and the constraints that a recipe keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgecomp.common.tasks import Effort, Mix, MixChoice, Rounding
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS
from edgecomp.formats.onnx_formats import ONNX_FORMATS, ONNX_MIXTURE
from edgecomp.formats.presets import MIXTURE, PRESETS, UNWEIGHTED
from edgecomp.formats.solved_types import is_solved
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, Recipe
from edgecomp.recipes.stages import Stage

SETTLED = {"context", "kv_type"}
"""Constraints that a recipe's settings repeat, and may change."""


class Choices(NamedTuple):
    """What somebody chose beside the format; None: what loses least."""

    runtime: str = "llama.cpp"
    provider: str = "cpu"
    """The execution provider of ONNX Runtime; `auto`: the one that fits the device."""

    rounding: Rounding | None = None
    mix: MixChoice | None = None
    effort: Effort = "default"
    stages: Sequence[Stage] = ()
    cache_losses: Mapping[str, float] | None = None
    """What each type of the KV cache loses, in nats a token, where it was measured."""


NOTHING_CHOSEN = Choices()


def recipe_for(
    model: str,
    device: str,
    constraints: Constraints,
    chosen: Candidate,
    evaluation: EvaluationSettings | None = None,
    choices: Choices = NOTHING_CHOSEN,
) -> Recipe:
    """The recipe that makes and proves a plan's candidate.

    GPTQ rounds onto AWQ's scales where it can, unless another rounding is asked for, and types
    are mixed within the format's size, unless another mix is: at the same size that loses least
    (benchmarks/RESULTS.md).
    """
    onnx = ONNX_FORMATS.get(chosen.format)
    weighted = chosen.format in PRESETS and chosen.format not in UNWEIGHTED
    solved = is_solved(chosen.format) or chosen.format in HUGGINGFACE_FORMATS
    solved = solved or (onnx is not None and onnx.is_solved)
    return Recipe(
        model=model,
        device=device,
        constraints=constraints,
        runtime=choices.runtime,
        provider=chosen.provider,
        format=chosen.format,
        mix=chosen_mix(choices.mix, chosen.format),
        budget_bytes=chosen.budget_bytes,
        rounding=choices.rounding or ("awq+gptq" if solved else "llama.cpp"),
        effort=choices.effort,
        settings=chosen.settings,
        importance=weighted,
        calibration=preset_mix(constraints.task),
        evaluation=evaluation or EvaluationSettings(),
    )


def chosen_mix(choice: MixChoice | None, format_name: str) -> Mix | None:
    """How a format's types are mixed. Where nobody says: within its size, if our solvers choose
    codes of few bits; with 8 bits everywhere there is nothing to shift."""
    if format_name in (MIXTURE, ONNX_MIXTURE):
        return "optimal"
    onnx = ONNX_FORMATS.get(format_name)
    if onnx and not onnx.is_solved:
        return None
    if choice is not None:
        return None if choice == "none" else choice
    if not is_solved(format_name):
        return None
    return "same-size" if TENSOR_TYPES[PRESETS[format_name].base].bits_per_weight < 8 else None


def effective_constraints(recipe: Recipe) -> Constraints:
    """The recipe's constraints with the context and the cache type it runs with; in ONNX Runtime
    and transformers the cache has the model's own type, which is no choice."""
    settled = recipe.settings.model_dump(include=SETTLED)
    if recipe.runtime in ("onnx", "transformers"):
        del settled["kv_type"]
    return recipe.constraints.model_copy(update=settled)
