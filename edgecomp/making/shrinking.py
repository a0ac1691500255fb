"""A recipe's stages carried out: the float checkpoint pruned, made smaller, distilled."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.digests import file_digest, tree_digest
from edgecomp.common.errors import CompressionSettingsInvalid, ModelIncomplete
from edgecomp.common.events import Progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.exporting import default_float_type, find_gguf_exporter
from edgecomp.making.calibration_rows import StoredCalibration, training_rows
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run, source_digest
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.distillation import History
from edgecomp.recipes.stages import DistillStage, PruneStage, StructuredStage


class PrunedOrDistilled(NamedTuple):
    """The checkpoint after the stages, what they were, for the keys of others, and the curves."""

    checkpoint: Path
    done: list[Any]
    histories: tuple[History, ...]


class Distilled(FrozenModel):
    """A distilled checkpoint, and how its divergence fell."""

    checkpoint: StoredFile
    history: History


def shrunk_checkpoint(
    run: Run, base: StoredFile, teacher: Path, calibration: StoredCalibration
) -> PrunedOrDistilled:
    """The float checkpoint `teacher` after the recipe's stages, in order."""
    now = PrunedOrDistilled(teacher, [], ())
    for stage in run.recipe.stages:
        histories = now.histories
        done = [*now.done, stage.model_dump(mode="json"), calibration.record.tokens_sha256]
        if isinstance(stage, DistillStage):
            made = _distill(run, base, teacher, now, stage, done)
            path, histories = made.checkpoint.path, (*histories, made.history)
            done.append(made.checkpoint.sha256)  # a budget in minutes does not say what came out
        elif isinstance(stage, PruneStage):
            path = _prune(run, now.checkpoint, calibration, stage, done)
        else:
            path = _smaller(run, now.checkpoint, calibration, stage, done)
        now = PrunedOrDistilled(path, done, histories)
    return now


def _prune(
    run: Run, checkpoint: Path, calibration: StoredCalibration, stage: PruneStage, done: list[Any]
) -> Path:
    def work(folder: Path, progress: Progress) -> StoredFile:
        return run.checkpoint_from_torch(
            "prune",
            folder,
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            method=stage.method,
            sparsity=stage.sparsity,
        )

    inputs = {"stages": done}
    return run.stage("pruning", stage.title, StoredFile, inputs, work, any_runtime=True).path


def _smaller(
    run: Run,
    checkpoint: Path,
    calibration: StoredCalibration,
    stage: StructuredStage,
    done: list[Any],
) -> Path:
    sizes = stage.sizes(read_model(checkpoint))

    def work(folder: Path, progress: Progress) -> StoredFile:
        return run.checkpoint_from_torch(
            "make_smaller",
            folder,
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            sizes=sizes.model_dump(),
        )

    inputs = {"stages": done, "threads": run.threads}
    title = stage.title
    made = run.stage("structured-pruning", title, StoredFile, inputs, work, any_runtime=True)
    return made.path


def _distill(
    run: Run,
    base: StoredFile,
    teacher: Path,
    now: PrunedOrDistilled,
    stage: DistillStage,
    done: list[Any],
) -> Distilled:
    student = Path(stage.student) if stage.student else now.checkpoint
    given = _checked_student(run, base, student) if stage.student else None
    rows = training_rows(run, base, stage.tokens)
    targets = teachers_targets(run, teacher, rows.tokens, [], stage.top_k, stage.temperature)

    def work(folder: Path, progress: Progress) -> Distilled:
        path = folder / "checkpoint"
        # A process joins others to train once in its life, and training wants all of the memory.
        run.torch.end()
        history = run.in_torch(
            "distill",
            progress,
            student=str(student),
            tokens=str(rows.tokens.path),
            targets=str(targets.path),
            destination=str(path),
            stage=stage.model_dump(mode="json"),
        )
        return Distilled(
            checkpoint=StoredFile(path=path, sha256=tree_digest(path)),
            history=History.model_validate(history),
        )

    inputs = {
        "stages": done,
        "student": given,
        "tokens": rows.tokens.sha256,
        "targets": targets.sha256,
        "threads": run.threads,
    }
    return run.stage("distillation", stage.title, Distilled, inputs, work, any_runtime=True)


def teachers_targets(
    run: Run,
    teacher: Path,
    tokens: StoredFile,
    done: list[Any],
    top_k: int,
    temperature: float = 1.0,
) -> StoredFile:
    """The logits and states of `teacher`, the source's checkpoint after the stages `done`, on some
    text, kept for every later student."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "targets"
        run.in_torch(
            "cache_targets",
            progress,
            teacher=str(teacher),
            tokens=str(tokens.path),
            destination=str(path),
            top_k=top_k,
            temperature=temperature,
        )
        return StoredFile(path=path, sha256=tree_digest(path))

    inputs = {
        "tokens": tokens.sha256,
        "top_k": top_k,
        "temperature": temperature,
        "stages": done,
        "threads": run.threads,
    }
    title = "Writing down what the teacher says"
    return run.stage("targets", title, StoredFile, inputs, work, any_runtime=True)


def _checked_student(run: Run, base: StoredFile, student: Path) -> str:
    """The hash of a student's files. Raises CompressionSettingsInvalid unless it reads text as its
    teacher does, ModelIncomplete where it has no tokenizer to compare."""
    spec = read_model(student)
    if spec.tokenizer != "tokenizer.json":
        raise ModelIncomplete(
            student, "it has no tokenizer.json to compare with its teacher's.", "Add the teacher's."
        )
    same = check_token_ids(spec, base.path, run.runtime)
    if not same.passed:
        raise CompressionSettingsInvalid(
            f"The student {student} does not share its teacher's tokenizer: {same.detail}. It "
            "could not learn from its teacher's logits. Give a student of the same family."
        )
    return source_digest(spec)


def shrunk_export(run: Run, base: StoredFile, made: PrunedOrDistilled) -> StoredFile:
    """The checkpoint after the stages as a float GGUF with the base's tokenizer."""
    float_type = default_float_type(run.model)

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / f"pruned-{float_type}.gguf"
        find_gguf_exporter().export(
            read_model(made.checkpoint), path, float_type, progress, vocabulary=base.path
        )
        return StoredFile(path=path, sha256=file_digest(path))

    title = "Writing the pruned float model"
    inputs = {
        "type": float_type,
        "base": base.sha256,
        # They say which checkpoint it is: hashing gigabytes again would say no more.
        "stages": made.done,
        "threads": run.threads,
    }
    return run.stage("pruned-export", title, StoredFile, inputs, work)
