"""What a run does, as a file: all that decides the artifact's bytes, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import MEASURED_MIXES, SOLVING, Effort, Mix, Rounding
from edgecomp.common.yaml_file import read_yaml, write_yaml
from edgecomp.formats.execution_providers import PROVIDERS
from edgecomp.formats.huggingface_layouts import HUGGINGFACE_FORMATS
from edgecomp.formats.onnx_formats import ONNX_FORMATS, ONNX_MIXTURE
from edgecomp.formats.presets import MIXTURE, PRESETS, SOURCE
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.calibration_mix import CalibrationMix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.recipes.sparsity import parse_sparsity
from edgecomp.recipes.stages import DistillStage, PruneStage, Stage
from edgecomp.recipes.tolerances import Tolerances

QUESTION_SECONDS = 600.0
"""The time that questions get where none is given."""


class EvaluationSettings(FrozenModel):
    """How much is asked, what may be lost, and windows of the divergence text."""

    items: int | None = Field(default=None, gt=0)
    """Questions of each benchmark, at most; None: all that there are."""

    budget_seconds: float | None = Field(default=QUESTION_SECONDS, gt=0)
    """Time for questions; None: until each capability is decided or its questions are asked."""

    tolerances: Tolerances = Tolerances()
    seed: int = 0
    """Of the order in which questions are asked."""

    windows: int = Field(default=16, gt=1)
    window_tokens: int = Field(default=512, ge=32)


class MeasurementSettings(FrozenModel):
    """How often each depth is timed, and how many tokens are decoded there."""

    repeats: int = Field(default=5, gt=0)
    decode_tokens: int = Field(default=48, gt=0)


class Recipe(FrozenModel):
    """One run, repeatable: same recipe, same inputs, same versions, same bytes."""

    schema_version: Literal[1] = 1
    model: str
    device: str
    constraints: Constraints
    runtime: str
    provider: str = "cpu"
    """The execution provider of ONNX Runtime that the artifact is shipped for."""

    format: str
    """A preset of GGUF, a format of ONNX or of quantized checkpoints, or `source` for the file as
    it is."""

    tensor_types: dict[str, str] = Field(default={})
    """Types of single tensors by GGUF name, over the preset's own."""

    mix: Mix | None = None
    """Who chooses `tensor_types`; a recipe that lists them already is followed as it is."""

    budget_bytes: int | None = Field(default=None, gt=0)
    """The file's size that the mix `optimal` fills, where a plan found it; None: the limits'."""

    stages: tuple[Stage, ...] = ()
    """What is done to the float weights first, in order."""

    rounding: Rounding = "llama.cpp"
    effort: Effort = "default"
    """How long scales and norms are tuned once codes are chosen (recipes/tuning.py)."""

    weigh_tokens: bool = False
    """Whether solvers weigh the calibration's tokens by what their errors do to the predictions: a
    trial, which lost where it was measured together with tuning (benchmarks/RESULTS.md)."""

    settings: RunSettings
    importance: bool
    """Whether rounding is weighted by an importance matrix."""

    calibration: CalibrationMix
    any_calibration: bool = False
    """Go on although the calibration does not match the task (R30, R35)."""

    evaluation: EvaluationSettings = EvaluationSettings()
    measurement: MeasurementSettings = MeasurementSettings()

    @property
    def weighs_tokens(self) -> bool:
        """Whether a solver is given what each token counts."""
        return self.weigh_tokens and self.rounding in SOLVING

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        onnx = ONNX_FORMATS.get(self.format)
        if self.format in PRESETS:
            unrounded = TENSOR_TYPES[PRESETS[self.format].base].is_float
        else:
            unrounded = onnx is None or not onnx.is_solved
        mixture = self.format in (MIXTURE, ONNX_MIXTURE)
        if mixture and not (self.mix == "optimal" or self.tensor_types):
            raise ValueError(
                f"the format {self.format} has no types of its own: mix optimal chooses them"
            )
        if onnx and (onnx.needs_solver or self.mix) and self.rounding == "llama.cpp":
            raise ValueError(f"{self.format} is rounded by rtn, gptq, awq or awq+gptq")
        if onnx and self.mix not in (None, *MEASURED_MIXES):
            raise ValueError(f"the types of mix {self.mix} are llama.cpp's, not {self.format}'s")
        if self.mix and unrounded:
            raise ValueError(f"mix {self.mix} chooses types, and {self.format} rounds nothing")
        if self.stages and self.format == SOURCE:
            raise ValueError("the source as it is has no stages: give a format to make")
        quantized = self.format in HUGGINGFACE_FORMATS
        if quantized != (self.runtime == "transformers"):
            raise ValueError(f"{self.runtime} does not run {self.format}")
        if quantized and self.rounding == "llama.cpp":
            raise ValueError(f"{self.format} is rounded by rtn, gptq, awq or awq+gptq")
        if self.provider not in PROVIDERS:
            raise ValueError(f"there is no execution provider {self.provider!r}")
        if self.provider != "cpu" and self.format not in ONNX_FORMATS:
            raise ValueError(f"--provider {self.provider} is for ONNX formats, not {self.format}")
        by_matrix = self.mix or self.tensor_types or (onnx and onnx.needs_solver)
        if PROVIDERS[self.provider].graph != "cpu" and by_matrix:
            raise ValueError(
                "zero points and types by matrix are put into the CPU's graph, not into that of "
                f"{self.provider}: choose a format such as onnx-int4-32"
            )
        return self


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as YAML."""
    write_yaml(path, recipe)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeInvalid, naming the line and the field."""
    return read_yaml(path, Recipe, "recipe")


def sparsity_percent(recipe: Recipe) -> float | None:
    """The share of weights that the recipe's last pruning sets to zero."""
    pruned = [stage for stage in recipe.stages if isinstance(stage, PruneStage)]
    return 100 * parse_sparsity(pruned[-1].sparsity).ratio if pruned else None


def method_of(recipe: Recipe) -> Literal["quantization", "pruning", "distillation"]:
    """What a verdict holds responsible for a loss."""
    if any(isinstance(stage, DistillStage) for stage in recipe.stages):
        return "distillation"
    return "pruning" if recipe.stages else "quantization"
