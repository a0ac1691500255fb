"""What each token of a calibration counts in each linear, as a stage of its own: it is measured
once a model, and serves every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgecomp.common.digests import file_digest
from edgecomp.common.events import Progress, Warned
from edgecomp.making.calibration_rows import StoredCalibration
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile

FEWEST_TOKENS = 6144
"""Fewest of a calibration with which weighing was seen to pay; with 1,024 it did harm
(benchmarks/RESULTS.md)."""


def token_weights(
    run: Run, checkpoint: Path, calibration: StoredCalibration, done: list[Any]
) -> StoredFile | None:
    """The weights of a checkpoint, after the stages `done`; None where the recipe asks for none. A
    short calibration is warned of."""
    if not run.recipe.weighs_tokens:
        return None
    tokens = calibration.record.rows * calibration.record.mix.row_tokens
    if tokens < FEWEST_TOKENS:
        text = (
            f"The calibration's {tokens:,} tokens are weighed as the recipe asks; fewer than "
            f"{FEWEST_TOKENS:,} say too little. Give a larger calibration, or leave it out."
        )
        run.listen(Warned(text=text))

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "token-weights.safetensors"
        run.in_torch(
            "token_weights",
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            destination=str(path),
        )
        return StoredFile(path=path, sha256=file_digest(path))

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "stages": done,
        "threads": run.threads,
    }
    return run.stage("token-weights", "Measuring what each token counts", StoredFile, inputs, work)
