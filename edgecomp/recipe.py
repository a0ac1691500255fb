"""What a run does, as a file: all that decides the artifact's bytes, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from edgecomp.atomic import write_text
from edgecomp.calibration import CalibrationMix, preset_mix
from edgecomp.constraints import Constraints
from edgecomp.errors import RecipeInvalid
from edgecomp.format_facts import UNWEIGHTED
from edgecomp.plan import Candidate
from edgecomp.runtimes.settings import RunSettings
from edgecomp.value import Value


class EvaluationSettings(Value):
    """How much is asked: items of each benchmark, and windows of the divergence text."""

    items: int = Field(default=60, gt=0)
    windows: int = Field(default=32, gt=1)
    window_tokens: int = Field(default=512, ge=32)


class MeasurementSettings(Value):
    """How often each depth is timed, and how many tokens are decoded there."""

    repeats: int = Field(default=5, gt=0)
    decode_tokens: int = Field(default=48, gt=0)


Rounding = Literal["llama.cpp", "rtn", "gptq", "awq", "awq+gptq"]
"""Who chooses the codes of the matrices inside the blocks; the rest is always llama.cpp's."""


class PruneStage(Value):
    """Weights inside the blocks set to zero: a share (`50%`) or a pattern (`2:4`)."""

    method: Literal["sparsegpt", "wanda", "magnitude"]
    sparsity: str = "50%"


class Recipe(Value):
    """One run, repeatable: same recipe, same inputs, same versions, same bytes."""

    schema_version: Literal[1] = 1
    model: str
    device: str
    constraints: Constraints
    runtime: str
    format: str
    """A preset, or `source` for the file as it is."""

    tensor_types: dict[str, str] = Field(default={})
    """Types of single tensors by GGUF name, over the preset's own."""

    stages: tuple[PruneStage, ...] = ()
    """What is done to the float weights first, in order."""

    rounding: Rounding = "llama.cpp"
    settings: RunSettings
    importance: bool
    """Whether rounding is weighted by an importance matrix."""

    calibration: CalibrationMix
    evaluation: EvaluationSettings = EvaluationSettings()
    measurement: MeasurementSettings = MeasurementSettings()


def recipe_for(
    model: str,
    device: str,
    constraints: Constraints,
    chosen: Candidate,
    evaluation: EvaluationSettings | None = None,
) -> Recipe:
    """The recipe that makes and proves a plan's candidate."""
    return Recipe(
        model=model,
        device=device,
        constraints=constraints,
        runtime="llama.cpp",
        format=chosen.format,
        settings=chosen.settings,
        importance=chosen.format not in UNWEIGHTED,
        calibration=preset_mix(constraints.task),
        evaluation=evaluation or EvaluationSettings(),
    )


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write a recipe as YAML."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(path, text)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe. Raises RecipeInvalid, naming the line and the field."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = yaml.safe_load(text)
        return Recipe.model_validate(raw)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"The recipe {path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise RecipeInvalid(f"The recipe {path}{line} is not valid YAML: {problem}.") from error
    except ValidationError as error:
        # A misspelt field is also a missing one; the misspelling is what the reader can see.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        place = [str(part) for part in first["loc"]]
        number = _line_of(text, place)
        where = f", line {number}" if number else ""
        field = ".".join(place) or "the whole"
        raise RecipeInvalid(
            f"The recipe {path}{where}: {field} is refused: {first['msg']}."
        ) from error


def _line_of(text: str, place: list[str]) -> int | None:
    """The line (from 1) of the deepest part of `place` that the file holds."""
    node: Any = yaml.compose(text)
    line = None
    for part in place:
        if not isinstance(node, yaml.MappingNode):
            break
        pair = next((pair for pair in node.value if pair[0].value == part), None)
        if pair is None:
            break
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line
