"""What fills a number of bytes best: our mixtures, and the best of llama.cpp's quantizer.

For each size, ours is what `edgecomp compress --format mix --max-size SIZE` makes. Theirs is made
by llama.cpp's quantizer from the same float file with the same importance matrix: of all its
presets, each with every type of its own for the embedding and the head (its switches), the few that
fit and are expected to lose least are made, and the best one counts. All are compared with the
float file in llama.cpp, on text that calibrated nothing.

    EDGECOMP_DATA=... python benchmarks/budget_mixtures.py MODEL 200MB 170MB

Finished stages are kept, so that sizes can be made one at a time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edgecomp.common.events import ignore
from edgecomp.common.quantity import format_size, parse_size
from edgecomp.common.tasks import Rounding
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.expected_loss import expected_divergence
from edgecomp.formats.format_facts import planned_file_bytes, tensor_types_of
from edgecomp.formats.presets import MIXTURE, PRESETS, UNWEIGHTED
from edgecomp.jobs.evaluation_stages import divergence, evaluation_subjects
from edgecomp.making.artifact import Artifact
from edgecomp.making.compress_job import CompressionRequest, compression_recipe
from edgecomp.making.gguf import make_artifact
from edgecomp.making.mixed_precision import refined_loss
from edgecomp.models.reading import read_model
from edgecomp.models.spec import EMBEDDING, OUTPUT, ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES, usable_types
from edgecomp.pipeline.run import Run
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, Recipe

THEIRS_MADE = 3
WINDOWS = EvaluationSettings(windows=8)
SWITCHES = (
    "Q8_0",
    "Q6_K",
    "Q5_K",
    "Q5_1",
    "Q5_0",
    "Q4_K",
    "IQ4_NL",
    "Q4_1",
    "Q4_0",
    "Q3_K",
    "Q2_K",
)


def made(recipe: Recipe) -> tuple[Artifact, DivergenceSummary]:
    data = os.environ.get("EDGECOMP_DATA")
    run = Run(read_model(recipe.model, weights=True), recipe, Path(data) if data else None, ignore)
    artifact = make_artifact(run)
    text = (
        (Path(data) / "wikitext2_test.txt").read_text(encoding="utf-8")
        if data
        else divergence_text()
    )
    return artifact, divergence(*evaluation_subjects(run, artifact), text, WINDOWS)


def recipe_of(model: str, size: int, method: Rounding) -> Recipe:
    return compression_recipe(
        CompressionRequest(
            model=model,
            method=method,
            format=MIXTURE,
            calibration=preset_mix("general"),
            constraints=Constraints(max_size_bytes=size),
        )
    )


def their_recipes(recipe: Recipe, model: ModelSpec, size: int) -> list[Recipe]:
    """The presets and switches within `size` that are expected to lose least."""
    found = []
    for name, switches in _choices(model):
        types = tensor_types_of(model, name, importance=name not in UNWEIGHTED, overrides=switches)
        if planned_file_bytes(model, name, types) <= size:
            found.append((expected_divergence(model, types), name, switches))
    found.sort(key=lambda row: row[0])
    return [
        recipe.model_copy(
            update={"format": name, "tensor_types": switches, "mix": None, "rounding": "llama.cpp"}
        )
        for _, name, switches in found[:THEIRS_MADE]
    ]


def _choices(model: ModelSpec) -> Iterator[tuple[str, dict[str, str]]]:
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    for name, preset in PRESETS.items():
        if name == MIXTURE or TENSOR_TYPES[preset.base].is_float or preset.base.startswith("TQ"):
            continue
        for embedding in (None, *usable_types(SWITCHES, shapes[EMBEDDING][-1])):
            heads = usable_types(SWITCHES, shapes[OUTPUT][-1]) if OUTPUT in shapes else []
            for head in (None, *heads):
                switches = {EMBEDDING: embedding, OUTPUT: head}
                yield name, {tensor: kind for tensor, kind in switches.items() if kind}


def shown(found: DivergenceSummary) -> str:
    interval = found.kl_mean_interval
    spread = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return f"{found.kl_mean:.4f}{spread}"


def main(model: str, sizes: list[str], method: Rounding = "awq+gptq") -> None:
    spec = read_model(model)
    print(
        f"{spec.name}, ours by {method}; nats from the float file (95 %), {WINDOWS.windows} windows"
    )
    print(
        "| size | ours, bytes | before | after | ours, measured | llama.cpp's best | bytes "
        "| its nats | ratio |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    for text in sizes:
        size = parse_size(text)
        recipe = recipe_of(model, size, method)
        ours, loss = made(recipe)
        assert ours.mixture is not None
        before = expected_divergence(spec, {**tensor_types_of(spec, MIXTURE), **ours.types})
        after = refined_loss(ours.mixture, recipe.rounding)
        theirs = [(other, *made(other)) for other in their_recipes(recipe, spec, size)]
        best, file, their_loss = min(theirs, key=lambda row: row[2].kl_mean)
        switches = ", ".join(f"{n.split('.')[0]} {k}" for n, k in best.tensor_types.items())
        print(
            f"| {text} | {ours.size_bytes:,} ({ours.size_bytes / size:.2%}) | {before:.4f} "
            f"| {after:.4f} | {shown(loss)} | {best.format} {switches} | {file.size_bytes:,} "
            f"| {shown(their_loss)} | {loss.kl_mean / their_loss.kl_mean:.2f} |",
            flush=True,
        )
        for other, artifact, found in theirs:
            size_text = format_size(artifact.size_bytes)
            print(f"  {other.format} {other.tensor_types} {size_text} {shown(found)}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:], os.environ.get("METHOD", "awq+gptq"))  # type: ignore[arg-type]
