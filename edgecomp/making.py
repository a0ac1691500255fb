"""Make a run's artifact: calibrate, prune, weigh, round, lay out, check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.artifact_checks import CheckResult, tensor_types
from edgecomp.calibration import CalibrationRecord, make_calibration
from edgecomp.checking import check_artifact, check_base, require
from edgecomp.events import Progress, Warned
from edgecomp.exporting import default_float_type, find_gguf_exporter
from edgecomp.float_model import float_checkpoint, float_export
from edgecomp.format_facts import SOURCE, tensor_types_of
from edgecomp.formats import PRESETS, TENSOR_TYPES
from edgecomp.gguf_mix import fallbacks
from edgecomp.model import ModelSpec, read_model
from edgecomp.pipeline import TORCH_WORKER, Run, StoredFile, data_digests, tree_digest
from edgecomp.recipe import PruneStage
from edgecomp.runtimes.child import Child
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.stage_cache import file_digest
from edgecomp.value import Value

UNROUNDED = ("source", "F32", "F16", "BF16")
"""Formats in which there is nothing to round."""


class StoredCalibration(Value):
    """Token rows on disk (.npy, int64), and where they came from."""

    tokens: StoredFile
    record: CalibrationRecord


class Artifact(Value):
    """The finished file and what was found out while it was made."""

    file: StoredFile
    size_bytes: int
    types: dict[str, str]
    fallbacks: dict[str, str]
    checks: tuple[CheckResult, ...]
    calibration: CalibrationRecord | None
    base: StoredFile
    """The float file that the artifact was made from and is compared with."""

    importance: StoredFile | None = None
    """The importance matrix, in the layout of llama.cpp's tools."""


def calibrated_tokens(run: Run, base: StoredFile) -> StoredCalibration:
    """The calibration's token rows, by the model's own tokenizer."""
    mix, task = run.recipe.calibration, run.recipe.constraints.task

    def work(folder: Path, progress: Progress) -> StoredCalibration:
        rows, record = make_calibration(
            mix,
            task,
            base.path,
            run.template,
            run.runtime,
            run.data,
            run.recipe.any_calibration,
        )
        path = folder / "tokens.npy"
        np.save(path, rows)
        return StoredCalibration(
            tokens=StoredFile(path=path, sha256=file_digest(path)), record=record
        )

    inputs = {
        "base": base.sha256,
        "mix": mix.model_dump(mode="json"),
        "task": task,
        "any": run.recipe.any_calibration,
        "data": data_digests(run.data),
    }
    title = "Gathering calibration text"
    made = run.stage("calibration", title, StoredCalibration, inputs, work)
    for warning in made.record.warnings:
        run.listen(Warned(text=warning))
    return made


def importance_matrix(
    run: Run, calibration: StoredCalibration, checkpoint: Path, done: list[Any]
) -> StoredFile:
    """The importance matrix of a checkpoint, computed block by block in a worker."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "importance.gguf"
        with Child(TORCH_WORKER) as child:
            child.call(
                "importance",
                progress,
                checkpoint=str(checkpoint),
                tokens=str(calibration.tokens.path),
                destination=str(path),
                datasets=[f"{k}: {v}" for k, v in calibration.record.origins.items()],
                threads=run.threads,
            )
        return StoredFile(path=path, sha256=file_digest(path))

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "threads": run.threads,
        "stages": done,
    }
    return run.stage("importance", "Measuring importance", StoredFile, inputs, work)


def pruned_checkpoint(
    run: Run, checkpoint: Path, calibration: StoredCalibration
) -> tuple[Path, list[Any]]:
    """The checkpoint after the recipe's stages, and what they were, for the keys of others."""
    done: list[Any] = []
    for stage in run.recipe.stages:
        done = [*done, stage.model_dump(), calibration.record.tokens_sha256]

        def work(
            folder: Path,
            progress: Progress,
            stage: PruneStage = stage,
            source: Path = checkpoint,
        ) -> StoredFile:
            path = folder / "checkpoint"
            _compress(run, 
                "prune", progress, source, calibration, path,
                method=stage.method, sparsity=stage.sparsity,
            )  # fmt: skip
            return StoredFile(path=path, sha256=tree_digest(path))

        title = f"Pruning {stage.sparsity} by {stage.method}"
        made = run.stage("pruning", title, StoredFile, {"stages": done}, work)
        checkpoint = made.path
    return checkpoint, done


def pruned_export(run: Run, base: StoredFile, checkpoint: Path, done: list[Any]) -> StoredFile:
    """A pruned checkpoint as a float GGUF with the base's tokenizer."""
    float_type = default_float_type(run.model)

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / f"pruned-{float_type}.gguf"
        find_gguf_exporter().export(
            read_model(checkpoint), path, float_type, progress, vocabulary=base.path
        )
        return StoredFile(path=path, sha256=file_digest(path))

    title = "Writing the pruned float model"
    inputs = {"type": float_type, "base": base.sha256, "stages": done}
    return run.stage("pruned-export", title, StoredFile, inputs, work)


def chosen_codes(
    run: Run,
    checkpoint: Path,
    calibration: StoredCalibration,
    types: dict[str, str],
    done: list[Any],
) -> StoredFile:
    """The checkpoint with the codes that the recipe's rounding chose for its blocks."""
    rounding = run.recipe.rounding

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "checkpoint"
        _compress(
            run, "round", progress, checkpoint, calibration, path, rounding=rounding, types=types
        )
        return StoredFile(path=path, sha256=tree_digest(path))

    inputs = {
        "tokens": calibration.record.tokens_sha256,
        "rounding": rounding,
        "types": types,
        "stages": done,
        "threads": run.threads,
    }
    return run.stage("rounding", f"Rounding by {rounding.upper()}", StoredFile, inputs, work)


def _compress(
    run: Run,
    request: str,
    progress: Progress,
    checkpoint: Path,
    calibration: StoredCalibration,
    destination: Path,
    **settings: Any,
) -> None:
    with Child(TORCH_WORKER) as child:
        child.call(
            request,
            progress,
            checkpoint=str(checkpoint),
            tokens=str(calibration.tokens.path),
            destination=str(destination),
            threads=run.threads,
            **settings,
        )


def quantized(
    run: Run,
    source: StoredFile,
    types: dict[str, str],
    importance: StoredFile | None,
    codes: StoredFile | None,
) -> StoredFile:
    """The artifact's file: laid out by llama.cpp's quantizer, with `codes` put in.

    Where `codes` hold all that importance would weigh, llama.cpp is given none, and is told every
    tensor's type instead: its own rule would choose others without.
    """
    recipe = run.recipe
    overrides = recipe.tensor_types
    if recipe.importance and not importance:
        overrides = {name: types[name] for name in _matrices(read_model(source.path))}

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / f"model-{recipe.format}.gguf"
        partial = path.with_suffix(".partial")
        LlamaCpp().quantize(
            source.path,
            partial,
            recipe.format,
            threads=run.threads,
            overrides=overrides,
            importance=importance.path if importance else None,
        )
        if codes:
            find_gguf_exporter().insert_codes(partial, codes.path)
        partial.replace(path)
        return StoredFile(path=path, sha256=file_digest(path))

    inputs = {
        "base": source.sha256,
        "format": recipe.format,
        "overrides": overrides,
        "importance": importance.sha256 if importance else None,
        "codes": codes.sha256 if codes else None,
    }
    return run.stage("compression", f"Quantizing to {recipe.format}", StoredFile, inputs, work)


def make_artifact(run: Run, planned_bytes: int) -> Artifact:
    """Make the artifact and check it. Raises ArtifactRejected, naming the check it failed."""
    base = float_export(run)
    checkpoint = float_checkpoint(run)
    checks = check_base(run, base, checkpoint).results
    require(checks, base.path)
    calibration = importance = None
    if run.recipe.format == SOURCE:
        file = StoredFile(path=run.model.path, sha256=run.source_digest)
        spec = run.model
    else:
        spec = read_model(base.path)
        if run.recipe.importance or run.recipe.stages or _solves(run):
            calibration = calibrated_tokens(run, base)
        file, importance = _made(run, base, checkpoint, spec, calibration)
    checks += check_artifact(run, file, planned_bytes, spec).results
    require(checks, file.path)
    types = tensor_types(file.path)
    return Artifact(
        file=file,
        size_bytes=file.path.stat().st_size,
        types=types,
        fallbacks={}
        if run.recipe.format == SOURCE
        else fallbacks(spec, types, PRESETS[run.recipe.format]),
        checks=checks,
        calibration=calibration.record if calibration else None,
        base=base,
        importance=importance,
    )


def _solves(run: Run) -> bool:
    return run.recipe.rounding != "llama.cpp" and run.recipe.format not in UNROUNDED


def _made(
    run: Run,
    base: StoredFile,
    checkpoint: Path,
    spec: ModelSpec,
    calibration: StoredCalibration | None,
) -> tuple[StoredFile, StoredFile | None]:
    recipe, source, codes = run.recipe, base, None
    types = tensor_types_of(spec, recipe.format, recipe.importance, recipe.tensor_types)
    done: list[Any] = []
    if recipe.stages and calibration:
        checkpoint, done = pruned_checkpoint(run, checkpoint, calibration)
        source = pruned_export(run, base, checkpoint, done)
    if _solves(run) and calibration:
        codes = chosen_codes(run, checkpoint, calibration, types, done)
    importance = None
    if recipe.importance and calibration and _left_to_llama_cpp(spec, types, codes):
        importance = importance_matrix(run, calibration, checkpoint, done)
    return quantized(run, source, types, importance, codes), importance


def _left_to_llama_cpp(
    spec: ModelSpec, types: dict[str, str], codes: StoredFile | None
) -> list[str]:
    """The tensors that an importance matrix covers and whose codes no solver chose: where there are
    none, measuring importance would change no byte."""
    from edgecomp.compress.packed import read_packed_index

    index = read_packed_index(codes.path) if codes else None
    solved = index.tensors if index else {}
    return [
        name
        for name in _matrices(spec)
        if (name.startswith("blk.") or name == "output.weight")
        and not TENSOR_TYPES[types[name]].is_float
        and name not in solved
    ]


def _matrices(spec: ModelSpec) -> list[str]:
    return [tensor.name for tensor in spec.tensors if len(tensor.shape) > 1]
