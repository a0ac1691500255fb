"""Our solver and bit allocation against llama.cpp's quantizer, at the same file size.

Each format is made twice from the same float file, with the same calibration and importance matrix:
by llama.cpp's own quantizer, and by our rounding with the types mixed to fill llama.cpp's size.
Both are compared with the float file in llama.cpp. A ratio below 1 is ours being closer.

    python benchmarks/compress_off_grid.py DEMO_CHECKPOINT OFF_GRID
    EDGECOMP_DATA=... python benchmarks/compress_same_size.py OFF_GRID Q4_0 Q4_K_M Q3_K_M Q5_K_M \\
        IQ4_XS

Finished stages are kept, so that formats can be made one at a time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgecomp.common.events import ignore
from edgecomp.common.tasks import Mix, Rounding
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.jobs.evaluation_stages import divergence, evaluation_subjects
from edgecomp.making.artifact import Artifact
from edgecomp.making.compress_job import CompressionRequest, compression_recipe
from edgecomp.making.gguf import make_artifact
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.recipes.calibration_mix import preset_mix
from edgecomp.recipes.constraints import Constraints

OURS: Rounding = "awq+gptq"


def made(
    model: str, format_name: str, rounding: Rounding, mix: Mix | None, limit: int | None
) -> tuple[Artifact, DivergenceSummary]:
    recipe = compression_recipe(
        CompressionRequest(
            model=model,
            method=rounding,
            format=format_name,
            calibration=preset_mix("general"),
            mix=mix,
            constraints=Constraints(max_size_bytes=limit),
        )
    )
    data = os.environ.get("EDGECOMP_DATA")
    run = Run(read_model(model), recipe, Path(data) if data else None, ignore)
    artifact = make_artifact(run)
    text = (
        (Path(data) / "wikitext2_test.txt").read_text(encoding="utf-8")
        if data
        else divergence_text()
    )
    return artifact, divergence(*evaluation_subjects(run, artifact), text, recipe.evaluation)


def shown(found: DivergenceSummary) -> str:
    interval = found.kl_mean_interval
    spread = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return f"{found.kl_mean:.4f}{spread}"


def main(model: str, formats: list[str]) -> None:
    print(f"| format | bytes | llama.cpp: KL, nats (95 %) | bytes | {OURS}, mixed | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in formats:
        theirs, their_loss = made(model, name, "llama.cpp", None, None)
        ours, our_loss = made(model, name, OURS, "optimal", theirs.size_bytes)
        ratio = our_loss.kl_mean / their_loss.kl_mean
        print(
            f"| {name} | {theirs.size_bytes:,} | {shown(their_loss)} | {ours.size_bytes:,} "
            f"| {shown(our_loss)} | {ratio:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
