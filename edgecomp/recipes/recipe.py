"""What a run does, as a file: all that decides the artifact's bytes, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from edgecomp.calibration.calibration import CalibrationMix, preset_mix
from edgecomp.common.tasks import Mix, MixChoice, Rounding
from edgecomp.common.value import Value
from edgecomp.common.yaml_file import read_yaml, write_yaml
from edgecomp.formats.format_facts import SOURCE, UNWEIGHTED
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS
from edgecomp.formats.onnx_formats import ONNX_FORMATS
from edgecomp.models.tensor_types import PRESETS, TENSOR_TYPES
from edgecomp.planning.plan import Candidate
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.stages import Stage

SETTLED = {"context", "kv_type"}
"""Constraints that a recipe's settings repeat, and may change."""


class EvaluationSettings(Value):
    """How much is asked: items of each benchmark, and windows of the divergence text."""

    items: int = Field(default=60, gt=0)
    windows: int = Field(default=16, gt=1)
    window_tokens: int = Field(default=512, ge=32)


class MeasurementSettings(Value):
    """How often each depth is timed, and how many tokens are decoded there."""

    repeats: int = Field(default=5, gt=0)
    decode_tokens: int = Field(default=48, gt=0)


SOLVED_TYPES = (
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
    "IQ4_XS",
)  # fmt: skip
"""Tensor types whose codes our solvers choose (compress/gguf_types.py)."""


class Recipe(Value):
    """One run, repeatable: same recipe, same inputs, same versions, same bytes."""

    schema_version: Literal[1] = 1
    model: str
    device: str
    constraints: Constraints
    runtime: str
    format: str
    """A preset of GGUF, a format of quantized checkpoints, or `source` for the file as it is."""

    tensor_types: dict[str, str] = Field(default={})
    """Types of single tensors by GGUF name, over the preset's own."""

    mix: Mix | None = None
    """Who chooses `tensor_types`; a recipe that lists them already is followed as it is."""

    stages: tuple[Stage, ...] = ()
    """What is done to the float weights first, in order."""

    rounding: Rounding = "llama.cpp"
    settings: RunSettings
    importance: bool
    """Whether rounding is weighted by an importance matrix."""

    calibration: CalibrationMix
    any_calibration: bool = False
    """Go on although the calibration does not match the task (R30, R35)."""

    evaluation: EvaluationSettings = EvaluationSettings()
    measurement: MeasurementSettings = MeasurementSettings()

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        unrounded = self.format not in PRESETS or TENSOR_TYPES[PRESETS[self.format].base].is_float
        if self.mix and unrounded:
            raise ValueError(f"mix {self.mix} chooses types, and {self.format} rounds nothing")
        if self.stages and self.format == SOURCE:
            raise ValueError("the source as it is has no stages: give a format to make")
        quantized = self.format in HUGGINGFACE_FORMATS
        if quantized != (self.runtime == "transformers"):
            raise ValueError(f"{self.runtime} does not run {self.format}")
        if quantized and self.rounding == "llama.cpp":
            raise ValueError(f"{self.format} is rounded by rtn, gptq, awq or awq+gptq")
        if self.stages and self.runtime == "onnx":
            raise ValueError("stages are carried out for llama.cpp only: ONNX exports the source")
        return self


def recipe_for(
    model: str,
    device: str,
    constraints: Constraints,
    chosen: Candidate,
    evaluation: EvaluationSettings | None = None,
    rounding: Rounding | None = None,
    mix: MixChoice | None = None,
    runtime: str = "llama.cpp",
) -> Recipe:
    """The recipe that makes and proves a plan's candidate.

    GPTQ rounds onto AWQ's scales where it can, unless another `rounding` is asked for, and types
    are mixed within the format's size, unless another `mix` is: at the same size that loses least
    (benchmarks/RESULTS.md).
    """
    onnx = ONNX_FORMATS.get(chosen.format)
    weighted = not onnx and chosen.format not in UNWEIGHTED
    solved = is_solved(chosen.format) or (onnx is not None and onnx.precision == "int4")
    return Recipe(
        model=model,
        device=device,
        constraints=constraints,
        runtime=runtime,
        format=chosen.format,
        mix=chosen_mix(mix, chosen.format),
        rounding=rounding or ("awq+gptq" if solved else "llama.cpp"),
        settings=chosen.settings,
        importance=weighted,
        calibration=preset_mix(constraints.task),
        evaluation=evaluation or EvaluationSettings(),
    )


def is_solved(format_name: str) -> bool:
    """Whether our solvers choose the codes of a GGUF format."""
    weighted = format_name in PRESETS and format_name not in UNWEIGHTED
    return weighted and PRESETS[format_name].base in SOLVED_TYPES


def chosen_mix(choice: MixChoice | None, format_name: str) -> Mix | None:
    """How a format's types are mixed. Where nobody says: within its size, if our solvers choose
    codes of few bits; with 8 bits everywhere there is nothing to shift."""
    if choice is not None:
        return None if choice == "none" else choice
    if not is_solved(format_name):
        return None
    return "same-size" if TENSOR_TYPES[PRESETS[format_name].base].bits_per_weight < 8 else None


def settled_constraints(recipe: Recipe) -> Constraints:
    """The recipe's constraints with the context and the cache type it runs with; ONNX Runtime's
    cache has the graph's own type, which is no choice."""
    settled = recipe.settings.model_dump(include=SETTLED)
    if recipe.runtime == "onnx":
        del settled["kv_type"]
    return recipe.constraints.model_copy(update=settled)


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as YAML."""
    write_yaml(path, recipe)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeInvalid, naming the line and the field."""
    return read_yaml(path, Recipe, "recipe")
