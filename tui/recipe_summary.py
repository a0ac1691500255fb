"""A recipe in words: method, calibration mix, and the stages it will take."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from edgecomp.common.quantity import format_duration
from edgecomp.common.tasks import MEASURED_MIXES, Mix
from edgecomp.formats.presets import SOURCE
from edgecomp.recipes.recipe import EvaluationSettings, Recipe

from .bars import bar

MIXES: dict[Mix, str] = {
    "same-size": "types mixed within its size",
    "optimal": "types mixed within the limits",
    "attention-8-ffn-4": "attention at 8 bits, FFN at 4",
}


def recipe_summary(recipe: Recipe, width: int) -> RenderableType:
    """Lines of at most `width` cells."""
    lines = [Text("Method", style="bold"), Text(_method(recipe))]
    if recipe.importance:
        mix = recipe.calibration
        lines += [Text(), Text(f"Calibration, {mix.total} samples", style="bold")]
        for name, count in sorted(mix.samples.items(), key=lambda row: -row[1]):
            line = Text(f"{name:18.18}{count:>4} ")
            lines.append(line.append_text(bar(count / mix.total, max(width - 24, 4), "cyan")))
    lines += [Text(), Text("Stages", style="bold")]
    lines += [Text(f"{number}. {stage}") for number, stage in enumerate(_stages(recipe), start=1)]
    return Group(*lines)


def _method(recipe: Recipe) -> str:
    if recipe.format == SOURCE:
        return "the file as it is, judged and measured"
    weighted = ", weighted by an importance matrix" if recipe.importance else ""
    before = "".join(f"{stage.title}, then " for stage in recipe.stages)
    mixed = f", {MIXES[recipe.mix]}" if recipe.mix else ""
    return f"{before}{recipe.format}{mixed}, rounded by {recipe.rounding}{weighted}"


def _stages(recipe: Recipe) -> list[str]:
    stages = ["write and check the float model"]
    if recipe.importance:
        stages.append("gather calibration text")
    stages += [stage.title[0].lower() + stage.title[1:] for stage in recipe.stages]
    if recipe.mix in MEASURED_MIXES:
        stages.append("measure what each type costs each tensor")
    if recipe.rounding != "llama.cpp":
        stages.append(f"choose codes by {recipe.rounding}")
    elif recipe.importance:
        stages.append("compute the importance matrix")
    if recipe.format != SOURCE:
        stages.append(f"quantize to {recipe.format}")
    evaluation, measured = recipe.evaluation, recipe.measurement
    return [
        *stages,
        "check the artifact",
        f"divergence over {evaluation.windows} windows",
        _questions(evaluation),
        f"measure, {measured.repeats} repeats a depth",
    ]


def _questions(evaluation: EvaluationSettings) -> str:
    limit = f", {evaluation.items} a benchmark" if evaluation.items else ""
    if evaluation.budget_seconds is None:
        return f"questions until each capability is decided{limit}"
    return f"questions for {format_duration(evaluation.budget_seconds)} at most{limit}"
