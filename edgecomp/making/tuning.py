"""Tuning after rounding as a stage: scales and norms fitted to the float model's logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.common.digests import tree_digest
from edgecomp.common.events import Noted, Progress, Warned
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import available_memory_bytes
from edgecomp.common.quantity import format_size
from edgecomp.making.calibration_rows import StoredCalibration
from edgecomp.making.shrinking import teachers_targets
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.planning.job_cost import HowMade, tuning_here
from edgecomp.recipes.tuning import TUNINGS, Tuned


class TunedCodes(NamedTuple):
    """A checkpoint with codes, tuned or as rounding left it, and what came of tuning it; None where
    it was not tried."""

    checkpoint: StoredFile
    tuned: Tuned | None = None


class StoredTuning(FrozenModel):
    """What a tuning found, and its checkpoint where that is better than the rounded one."""

    checkpoint: StoredFile | None
    tuned: Tuned


def tell_untuned(run: Run) -> None:
    """Say where tuning was asked for that the family of the run's model has no row here, without
    which tuned norms have no place in the file."""
    if TUNINGS[run.recipe.effort]:
        run.listen(
            Warned(
                text=f"Not tuned after rounding: {run.model.architecture} has no row here that "
                "says which of the file's norms is which of the checkpoint's."
            )
        )


def tuned_codes(
    run: Run, teacher: Path, codes: StoredFile, calibration: StoredCalibration, done: list[Any]
) -> TunedCodes:
    """The rounded checkpoint `codes` of the float checkpoint `teacher`, made by the stages `done`,
    tuned as the recipe's effort says. One that does not come out nearer to the float model on the
    held-out rows is thrown away and said, and so is one that memory does not allow."""
    recipe = run.recipe
    settings = TUNINGS[recipe.effort]
    how = HowMade(rounding=recipe.rounding, effort=recipe.effort)
    cost = tuning_here(read_model(teacher), recipe.format, how)
    if settings is None or cost is None:
        return TunedCodes(codes)
    free = available_memory_bytes()
    if cost.peak_memory_bytes > free:
        needed = format_size(cost.peak_memory_bytes)
        text = f"Not tuned: it would take {needed} of memory, and {format_size(free)} are free."
        run.listen(Warned(text=text))
        return TunedCodes(codes)
    targets = teachers_targets(run, teacher, calibration.tokens, done, settings.top_k)

    def work(folder: Path, progress: Progress) -> StoredTuning:
        path = folder / "checkpoint"
        # What earlier work left in the worker's memory makes room.
        run.torch.end()
        found = run.in_torch(
            "tune",
            progress,
            rounded=str(codes.path),
            tokens=str(calibration.tokens.path),
            targets=str(targets.path),
            destination=str(path),
            settings=settings.model_dump(),
        )
        tuned = Tuned.model_validate(found)
        kept = StoredFile(path=path, sha256=tree_digest(path)) if tuned.improved else None
        return StoredTuning(checkpoint=kept, tuned=tuned)

    inputs = {
        "codes": codes.sha256,
        "tokens": calibration.tokens.sha256,
        "targets": targets.sha256,
        "settings": settings.model_dump(mode="json"),
        "threads": run.threads,
    }
    title = "Tuning scales and norms to the float model"
    made = run.stage("tuning", title, StoredTuning, inputs, work)
    said = Noted if made.tuned.improved else Warned
    run.listen(said(text=made.tuned.sentence))
    return TunedCodes(made.checkpoint or codes, made.tuned)
