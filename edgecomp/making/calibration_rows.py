"""The texts of a run as token rows: its calibration, and what its student learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgecomp.calibration.calibration import CalibrationRecord, make_calibration
from edgecomp.calibration.training_text import make_training_rows
from edgecomp.common.digests import file_digest
from edgecomp.common.events import Progress, Warned
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.pipeline.run import Run, data_digests
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.calibration_mix import CalibrationMix, check_mix


class StoredCalibration(FrozenModel):
    """Token rows on disk (.npy, int64), and where they came from."""

    tokens: StoredFile
    record: CalibrationRecord


def calibrated_tokens(run: Run, base: StoredFile) -> StoredCalibration:
    """The calibration's token rows, by the model's own tokenizer."""
    mix, task = _fitting_mix(run), run.recipe.constraints.task

    def work(folder: Path, progress: Progress) -> StoredCalibration:
        warnings = check_mix(mix, task, override=run.recipe.any_calibration)
        rows, record = make_calibration(
            mix, base.path, run.template, run.runtime, run.data, warnings
        )
        path = folder / "tokens.npy"
        np.save(path, rows)
        return StoredCalibration(
            tokens=StoredFile(path=path, sha256=file_digest(path)), record=record
        )

    # Any runtime's tokens are the source's, which is checked before: the base need not be named.
    inputs = {
        "mix": mix.model_dump(mode="json"),
        "task": task,
        "any": run.recipe.any_calibration,
        "data": data_digests(run.data),
    }
    title = "Gathering calibration text"
    made = run.stage("calibration", title, StoredCalibration, inputs, work, any_runtime=True)
    if mix != run.recipe.calibration:
        text = (
            f"The calibration's rows are cut to the {mix.row_tokens} tokens of the model's "
            f"context; the recipe says {run.recipe.calibration.row_tokens}."
        )
        run.listen(Warned(text=text))
    for warning in made.record.warnings:
        run.listen(Warned(text=warning))
    return made


def _fitting_mix(run: Run) -> CalibrationMix:
    """The recipe's mix, its rows no longer than the model's context: learned positions end there,
    and others were not trained beyond it."""
    mix, context = run.recipe.calibration, run.model.context_length
    if not 0 < context < mix.row_tokens:
        return mix
    return mix.model_copy(update={"row_tokens": context})


class TrainingRows(FrozenModel):
    """Token rows on disk (.npy, int64), none of whose texts is there twice."""

    tokens: StoredFile
    rows: int


def training_rows(run: Run, base: StoredFile, tokens: int) -> TrainingRows:
    """At most `tokens` tokens of text for a distillation, from the calibration's sources."""
    mix = _fitting_mix(run)

    def work(folder: Path, progress: Progress) -> TrainingRows:
        rows = make_training_rows(mix, tokens, base.path, run.template, run.runtime, run.data)
        path = folder / "tokens.npy"
        np.save(path, rows)
        return TrainingRows(tokens=StoredFile(path=path, sha256=file_digest(path)), rows=len(rows))

    inputs = {
        "mix": mix.model_dump(mode="json"),
        "tokens": tokens,
        "data": data_digests(run.data),
    }
    title = "Gathering training text"
    made = run.stage("training-text", title, TrainingRows, inputs, work, any_runtime=True)
    found = made.rows * mix.row_tokens
    if found < 0.9 * tokens:
        text = (
            f"The calibration's sources hold {found:,} tokens of different text for the "
            f"distillation, not {tokens:,}: a student sees them many times over. Give more with "
            "--data."
        )
        run.listen(Warned(text=text))
    return made
