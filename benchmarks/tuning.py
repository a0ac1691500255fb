"""What tuning after rounding brings: a file of the same size and codes, untuned and tuned.

Each size is filled as `edgecomp compress --format mix --max-size SIZE` fills it, at --effort quick
and with every setting that is given (a TuningSettings as JSON; without any, --effort best). All are
compared with the float file in llama.cpp, on WikiText-2's test split and on text of our own;
neither calibrated anything, though WikiText-2's validation split is among the calibration's texts.

    EDGECOMP_DATA=... python benchmarks/tuning.py MODEL 72MB
    EDGECOMP_DATA=... python benchmarks/tuning.py MODEL 72MB '{"scale_rate": 0}' '{"norm_rate": 0}'

Finished stages are kept, so that settings can be tried one at a time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgecomp.common.events import Event, StageFinished
from edgecomp.common.quantity import parse_size
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.presets import MIXTURE
from edgecomp.jobs.evaluation_stages import divergence, evaluation_subjects
from edgecomp.making.artifact import Artifact
from edgecomp.making.compress_job import CompressionRequest, compression_recipe
from edgecomp.making.gguf import make_artifact
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints
from edgecomp.recipes.recipe import EvaluationSettings, Recipe
from edgecomp.recipes.tuning import TUNINGS, TuningSettings

WINDOWS = EvaluationSettings(windows=8)
QUICK = "quick"


def recipe_of(model: str, size: str, *, tuned: bool) -> Recipe:
    return compression_recipe(
        CompressionRequest(
            model=model,
            method=os.environ.get("METHOD", "awq+gptq"),
            format=MIXTURE,
            calibration=preset_mix("general"),
            constraints=Constraints(max_size_bytes=parse_size(size)),
            effort="best" if tuned else "quick",
        )
    )


def made(recipe: Recipe) -> tuple[Artifact, list[DivergenceSummary], float]:
    """The artifact, its divergences on both texts, and the seconds of its tuning."""
    data, seconds = Path(os.environ["EDGECOMP_DATA"]), []

    def listen(event: Event) -> None:
        if isinstance(event, StageFinished) and event.stage == "tuning":
            seconds.append(event.seconds)

    run = Run(read_model(recipe.model, weights=True), recipe, data, listen)
    artifact = make_artifact(run)
    texts = ((data / "wikitext2_test.txt").read_text(encoding="utf-8"), divergence_text())
    subjects = evaluation_subjects(run, artifact)
    return artifact, [divergence(*subjects, text, WINDOWS) for text in texts], sum(seconds)


def shown(found: DivergenceSummary) -> str:
    interval = found.kl_mean_interval
    spread = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return f"{found.kl_mean:.4f}{spread}"


def main(model: str, size: str, settings: list[str]) -> None:
    print("| size | settings | bytes | held-out rows | WikiText-2 test | own text | seconds |")
    print("| ---: | --- | ---: | --- | --- | --- | ---: |")
    for text in (QUICK, *(settings or ["{}"])):
        if text != QUICK:
            TUNINGS["best"] = TuningSettings.model_validate_json(text)
        artifact, found, seconds = made(recipe_of(model, size, tuned=text != QUICK))
        points = artifact.tuning.points if artifact.tuning else ()
        held_out = " ".join(f"{point.divergence:.4f}" for point in points)
        print(
            f"| {size} | {text} | {artifact.size_bytes:,} | {held_out} "
            f"| {' | '.join(map(shown, found))} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
