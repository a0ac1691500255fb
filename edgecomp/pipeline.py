"""Carry out a recipe: make the artifact, check it, prove it.

Each step is a cached stage (`stage_cache`): its inputs are hashed, its result is kept, and a run
that was stopped goes on from the last finished one. Nothing here prints; progress is events.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.artifact_checks import (
    CheckResult,
    check_finite,
    check_size,
    check_token_ids,
    check_types,
    tensor_types,
)
from edgecomp.calibration import CalibrationRecord, make_calibration
from edgecomp.chat_template import ChatTemplate, read_chat_template
from edgecomp.detect import cpu_model
from edgecomp.errors import ArtifactRejected
from edgecomp.evaluate.coherence import Coherence, answer_fixed_prompts, check_coherence
from edgecomp.evaluate.divergence import DivergenceSummary, summarise
from edgecomp.evaluate.evaluate import evaluate
from edgecomp.evaluate.items import Item, ItemResult
from edgecomp.events import Listener, Progress, Warned
from edgecomp.exporting import (
    FloatType,
    default_float_type,
    find_exporter,
    find_gguf_exporter,
)
from edgecomp.format_facts import SOURCE, tensor_types_of
from edgecomp.formats import PRESETS
from edgecomp.gguf_mix import fallbacks
from edgecomp.measure.latency import Measurement, summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.model import ModelSpec, read_model
from edgecomp.recipe import PruneStage, Recipe
from edgecomp.runtimes.child import Child
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.settings import RunSettings
from edgecomp.stage_cache import file_digest, run_stage
from edgecomp.value import Value

TORCH_WORKER = "edgecomp.compress"
UNROUNDED = ("source", "F32", "F16", "BF16")
"""Formats in which there is nothing to round."""

DIVERGENCE_OUTPUTS = 64
"""Rows of logits compared at a time: a few megabytes of a large vocabulary."""


class StoredFile(Value):
    """A file that a stage made, and the hash of its bytes."""

    path: Path
    sha256: str


class StoredCalibration(Value):
    """Token rows on disk (.npy, int64), and where they came from."""

    tokens: StoredFile
    record: CalibrationRecord


class Checks(Value):
    """The outcome of every check of an artifact."""

    results: tuple[CheckResult, ...]


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


class Answers(Value):
    """What one file answered."""

    results: tuple[ItemResult, ...]


class Run:
    """One recipe on its way: the model, the runtime, the listener, and the stages in order."""

    def __init__(self, model: ModelSpec, recipe: Recipe, data: Path | None, listen: Listener):
        self.model = model
        self.recipe = recipe
        self.data = data
        self.listen = listen
        self.runtime = LlamaCpp()
        self.threads = recipe.settings.threads
        self.template: ChatTemplate = read_chat_template(model.path)
        self.source_digest = source_digest(model)

    def stage(self, name: str, title: str, kind: Any, inputs: dict[str, Any], work: Any) -> Any:
        """`run_stage` with the run's own listener; every key holds the source and the runtime."""
        inputs = {"source": self.source_digest, "runtime": self.runtime.version(), **inputs}
        return run_stage(name, title, kind, inputs, work, self.listen)

    def float_export(self) -> StoredFile:
        """The model as a GGUF with float weights: the base of everything that follows."""
        float_type = default_float_type(self.model)

        def work(folder: Path, progress: Progress) -> StoredFile:
            path = folder / f"base-{float_type}.gguf"
            find_exporter("gguf").export(self.model, path, float_type, progress)
            return StoredFile(path=path, sha256=file_digest(path))

        title = f"Writing the float model ({float_type})"
        made: StoredFile = self.stage("intake", title, StoredFile, {"type": float_type}, work)
        return made

    @cached_property
    def checkpoint(self) -> Path:
        """A Hugging Face folder of the model: the source itself, or one made from a GGUF."""
        if self.model.source == "huggingface":
            return self.model.path

        def work(folder: Path, progress: Progress) -> StoredFile:
            path = folder / "checkpoint"
            find_exporter("huggingface").export(self.model, path, None, progress)
            return StoredFile(path=path, sha256=self.source_digest)

        made: StoredFile = self.stage(
            "checkpoint", "Writing a float checkpoint", StoredFile, {}, work
        )
        return made.path

    def calibration(self, base: StoredFile) -> StoredCalibration:
        """The calibration's token rows, by the model's own tokenizer."""
        mix, task = self.recipe.calibration, self.recipe.constraints.task

        def work(folder: Path, progress: Progress) -> StoredCalibration:
            rows, record = make_calibration(
                mix,
                task,
                base.path,
                self.template,
                self.runtime,
                self.data,
                self.recipe.any_calibration,
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
            "any": self.recipe.any_calibration,
            "data": data_digests(self.data),
        }
        made: StoredCalibration = self.stage(
            "calibration", "Gathering calibration text", StoredCalibration, inputs, work
        )
        for warning in made.record.warnings:
            self.listen(Warned(text=warning))
        return made

    def importance(
        self, calibration: StoredCalibration, checkpoint: Path, done: list[Any]
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
                    threads=self.threads,
                )
            return StoredFile(path=path, sha256=file_digest(path))

        inputs = {
            "tokens": calibration.record.tokens_sha256,
            "threads": self.threads,
            "stages": done,
        }
        made: StoredFile = self.stage(
            "importance", "Measuring importance", StoredFile, inputs, work
        )
        return made

    def pruned(self, calibration: StoredCalibration) -> tuple[Path, list[Any]]:
        """The checkpoint after the recipe's stages, and what they were, for the keys of others."""
        checkpoint = self.checkpoint
        done: list[Any] = []
        for stage in self.recipe.stages:
            done = [*done, stage.model_dump(), calibration.record.tokens_sha256]

            def work(
                folder: Path,
                progress: Progress,
                stage: PruneStage = stage,
                source: Path = checkpoint,
            ) -> StoredFile:
                path = folder / "checkpoint"
                self._compress(
                    "prune", progress, source, calibration, path,
                    method=stage.method, sparsity=stage.sparsity,
                )  # fmt: skip
                return StoredFile(path=path, sha256=tree_digest(path))

            title = f"Pruning {stage.sparsity} by {stage.method}"
            made = self.stage("pruning", title, StoredFile, {"stages": done}, work)
            checkpoint = made.path
        return checkpoint, done

    def pruned_export(self, base: StoredFile, checkpoint: Path, done: list[Any]) -> StoredFile:
        """A pruned checkpoint as a float GGUF with the base's tokenizer."""
        float_type = default_float_type(self.model)

        def work(folder: Path, progress: Progress) -> StoredFile:
            path = folder / f"pruned-{float_type}.gguf"
            find_gguf_exporter().export(
                read_model(checkpoint), path, float_type, progress, vocabulary=base.path
            )
            return StoredFile(path=path, sha256=file_digest(path))

        title = "Writing the pruned float model"
        inputs = {"type": float_type, "base": base.sha256, "stages": done}
        made: StoredFile = self.stage("pruned-export", title, StoredFile, inputs, work)
        return made

    def codes(
        self,
        checkpoint: Path,
        calibration: StoredCalibration,
        types: dict[str, str],
        done: list[Any],
    ) -> StoredFile:
        """The checkpoint with the codes that the recipe's rounding chose for its blocks."""
        rounding = self.recipe.rounding

        def work(folder: Path, progress: Progress) -> StoredFile:
            path = folder / "checkpoint"
            self._compress(
                "round", progress, checkpoint, calibration, path, rounding=rounding, types=types
            )
            return StoredFile(path=path, sha256=tree_digest(path))

        inputs = {
            "tokens": calibration.record.tokens_sha256,
            "rounding": rounding,
            "types": types,
            "stages": done,
            "threads": self.threads,
        }
        made: StoredFile = self.stage(
            "rounding", f"Rounding by {rounding.upper()}", StoredFile, inputs, work
        )
        return made

    def _compress(
        self,
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
                threads=self.threads,
                **settings,
            )

    def quantized(
        self, source: StoredFile, importance: StoredFile | None, codes: StoredFile | None
    ) -> StoredFile:
        """The artifact's file: laid out by llama.cpp's quantizer, with `codes` put in."""
        recipe = self.recipe

        def work(folder: Path, progress: Progress) -> StoredFile:
            path = folder / f"model-{recipe.format}.gguf"
            partial = path.with_suffix(".partial")
            self.runtime.quantize(
                source.path,
                partial,
                recipe.format,
                threads=self.threads,
                overrides=recipe.tensor_types,
                importance=importance.path if importance else None,
            )
            if codes:
                find_gguf_exporter().insert_codes(partial, codes.path)
            partial.replace(path)
            return StoredFile(path=path, sha256=file_digest(path))

        inputs = {
            "base": source.sha256,
            "format": recipe.format,
            "overrides": recipe.tensor_types,
            "importance": importance.sha256 if importance else None,
            "codes": codes.sha256 if codes else None,
        }
        made: StoredFile = self.stage(
            "compression", f"Quantizing to {recipe.format}", StoredFile, inputs, work
        )
        return made

    def check_base(self, base: StoredFile) -> Checks:
        """That the float export is the source: its tokenizer and its greedy text."""
        checkpoint = self.checkpoint
        float_type: FloatType = default_float_type(self.model)

        def work(folder: Path, progress: Progress) -> Checks:
            tokens = check_token_ids(self.model, base.path, self.runtime)
            with Child(TORCH_WORKER) as child:
                greedy = child.call(
                    "greedy_check",
                    progress,
                    checkpoint=str(checkpoint),
                    artifact=str(base.path),
                    float_type=float_type,
                    threads=self.threads,
                )
            return Checks(results=(tokens, CheckResult.model_validate(greedy)))

        made: Checks = self.stage(
            "check-base",
            "Checking the float model against its source",
            Checks,
            {"base": base.sha256},
            work,
        )
        return made

    def check_artifact(self, file: StoredFile, planned_bytes: int, base: ModelSpec) -> Checks:
        """The artifact's own checks: tokenizer, numbers, size, types."""
        recipe = self.recipe
        planned = tensor_types_of(base, recipe.format, recipe.importance, recipe.tensor_types)
        fallen = {} if recipe.format == SOURCE else fallbacks(base, planned, PRESETS[recipe.format])

        def work(folder: Path, progress: Progress) -> Checks:
            return Checks(
                results=(
                    check_token_ids(self.model, file.path, self.runtime),
                    check_finite(file.path, progress),
                    check_size(file.path, planned_bytes),
                    check_types(file.path, planned, fallen),
                )
            )

        inputs = {"artifact": file.sha256, "planned": planned, "bytes": planned_bytes}
        made: Checks = self.stage("check", "Checking the artifact", Checks, inputs, work)
        return made

    def artifact(self, planned_bytes: int) -> Artifact:
        """Make the artifact and check it. Raises ArtifactRejected, naming the check it failed."""
        base = self.float_export()
        checks = self.check_base(base).results
        _require(checks, base.path)
        calibration = None
        if self.recipe.format == SOURCE:
            file = StoredFile(path=self.model.path, sha256=self.source_digest)
            spec = self.model
        else:
            spec = read_model(base.path)
            if self.recipe.importance or self.recipe.stages or self._solves:
                calibration = self.calibration(base)
            file = self._made(base, spec, calibration)
        checks += self.check_artifact(file, planned_bytes, spec).results
        _require(checks, file.path)
        types = tensor_types(file.path)
        return Artifact(
            file=file,
            size_bytes=file.path.stat().st_size,
            types=types,
            fallbacks={}
            if self.recipe.format == SOURCE
            else fallbacks(spec, types, PRESETS[self.recipe.format]),
            checks=checks,
            calibration=calibration.record if calibration else None,
            base=base,
        )

    @property
    def _solves(self) -> bool:
        return self.recipe.rounding != "llama.cpp" and self.recipe.format not in UNROUNDED

    def _made(
        self, base: StoredFile, spec: ModelSpec, calibration: StoredCalibration | None
    ) -> StoredFile:
        recipe, source, codes = self.recipe, base, None
        done: list[Any] = []
        checkpoint = self.checkpoint
        if recipe.stages and calibration:
            checkpoint, done = self.pruned(calibration)
            source = self.pruned_export(base, checkpoint, done)
        importance = None
        if recipe.importance and calibration:
            importance = self.importance(calibration, checkpoint, done)
        if self._solves and calibration:
            types = tensor_types_of(spec, recipe.format, recipe.importance, recipe.tensor_types)
            codes = self.codes(checkpoint, calibration, types, done)
        return self.quantized(source, importance, codes)

    def divergence(self, artifact: Artifact, text: str) -> DivergenceSummary:
        """How far the artifact's predictions are from the base's on `text`."""
        evaluation = self.recipe.evaluation
        settings = RunSettings(
            context=evaluation.window_tokens,
            outputs=DIVERGENCE_OUTPUTS,
            threads=self.threads,
        )

        def work(folder: Path, progress: Progress) -> DivergenceSummary:
            samples = self.runtime.compare(
                artifact.base.path,
                artifact.file.path,
                settings,
                text,
                window=evaluation.window_tokens,
                windows=evaluation.windows,
                progress=progress,
            )
            return summarise(samples)

        inputs = {
            "base": artifact.base.sha256,
            "artifact": artifact.file.sha256,
            "settings": settings.model_dump(),
            "text": text_digest(text),
            "windows": [evaluation.window_tokens, evaluation.windows],
        }
        made: DivergenceSummary = self.stage(
            "divergence", "Comparing predictions with the base", DivergenceSummary, inputs, work
        )
        return made

    def coherence(self, artifact: Artifact, divergence: DivergenceSummary) -> Coherence:
        """Whether the artifact still writes text; asked before the long evaluation."""
        settings = self._answer_settings()

        def work(folder: Path, progress: Progress) -> Coherence:
            written = [
                answer_fixed_prompts(self.runtime, file.path, settings, self.template, progress)
                for file in (artifact.base, artifact.file)
            ]
            return check_coherence(written[1], written[0], divergence)

        inputs = {"base": artifact.base.sha256, "artifact": artifact.file.sha256}
        made: Coherence = self.stage(
            "coherence", "Reading what the artifact writes", Coherence, inputs, work
        )
        return made

    def answers(self, file: StoredFile, items: tuple[Item, ...], who: str) -> Answers:
        """What one file answers to `items`."""
        settings = self._answer_settings()

        def work(folder: Path, progress: Progress) -> Answers:
            results = evaluate(
                self.runtime,
                file.path,
                settings,
                items,
                self.template,
                answers_path=folder / "answers.jsonl",
                progress=progress,
            )
            return Answers(results=results)

        inputs = {
            "file": file.sha256,
            "settings": settings.model_dump(),
            "items": [item.fingerprint for item in items],
        }
        made: Answers = self.stage(
            f"answers-{who}", f"Asking the {who} {len(items)} questions", Answers, inputs, work
        )
        return made

    def measurement(self, artifact: Artifact, text: str) -> Measurement:
        """Speed and memory of the artifact with the plan's settings, in a fresh process."""
        settings, wanted = self.recipe.settings, self.recipe.measurement
        room = settings.context - wanted.decode_tokens - 1
        depths = sorted({min(depth, room) for depth in (128, 512, room)})

        def work(folder: Path, progress: Progress) -> Measurement:
            before = machine_state()
            raw = self.runtime.measure(
                artifact.file.path,
                settings,
                text,
                depths=depths,
                decode_tokens=wanted.decode_tokens,
                repeats=wanted.repeats,
                progress=progress,
            )
            return summarise_measurement(raw, settings, self.runtime.name, before)

        inputs = {
            "artifact": artifact.file.sha256,
            "settings": settings.model_dump(),
            "measurement": wanted.model_dump(),
            "machine": cpu_model(),
        }
        made: Measurement = self.stage(
            "measurement", "Measuring speed and memory", Measurement, inputs, work
        )
        if made.machine.busy:
            load = made.machine.load_before or 0.0
            self.listen(
                Warned(text=f"The machine was busy (load {load:.1f}) when speed was measured.")
            )
        return made

    def _answer_settings(self) -> RunSettings:
        """Several sequences at once: a question's choices, or several answers."""
        return RunSettings(
            context=8192, sequences=8, outputs=DIVERGENCE_OUTPUTS, threads=self.threads
        )


def _require(checks: tuple[CheckResult, ...], path: Path) -> None:
    failed = [check for check in checks if not check.passed]
    if failed:
        raise ArtifactRejected(
            f"{path} is not what it should be: the check of {failed[0].name} failed: "
            f"{failed[0].detail}. It is not shipped; please report this with the model's name."
        )


def source_digest(model: ModelSpec) -> str:
    """A hash of all files that make up the source."""
    if model.path.is_file():
        return file_digest(model.path)
    from hashlib import sha256

    files = sorted(p for p in model.path.iterdir() if p.is_file() and not p.name.startswith("."))
    listed = "\n".join(f"{file.name} {file_digest(file)}" for file in files)
    return sha256(listed.encode()).hexdigest()


def tree_digest(folder: Path) -> str:
    """A hash of every file below a folder that a stage made."""
    from hashlib import sha256

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = "\n".join(f"{file.relative_to(folder)} {file_digest(file)}" for file in files)
    return sha256(listed.encode()).hexdigest()


def text_digest(text: str) -> str:
    """SHA-256 of a text."""
    from hashlib import sha256

    return sha256(text.encode("utf-8")).hexdigest()


def data_digests(data: Path | None) -> dict[str, str] | None:
    """Hashes of the data folder's files; None where the set that ships is used."""
    if data is None:
        return None
    files = sorted(p for p in data.iterdir() if p.suffix in (".jsonl", ".txt"))
    return {file.name: file_digest(file) for file in files}
