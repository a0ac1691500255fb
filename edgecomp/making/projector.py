"""A model's projector: its towers that read pictures or sounds, as llama.cpp's `mmproj` file beside
the text model. They keep their 16 bits."""

from __future__ import annotations

from pathlib import Path

from edgecomp.checks.artifact_checks import CheckResult, check_finite
from edgecomp.checks.projector_check import check_projector
from edgecomp.common.digests import file_digest
from edgecomp.common.errors import ExportRefused, RuntimeMissing, RuntimeRefused
from edgecomp.common.events import Progress, Warned
from edgecomp.formats.exporting import find_gguf_exporter
from edgecomp.formats.presets import PRESETS
from edgecomp.making.artifact import ProjectorFile
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.gguf.model import read_gguf
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.stages import DistillStage
from edgecomp.runtimes.llama_cpp.client import LlamaCpp


def make_projector(run: Run, text: StoredFile) -> ProjectorFile | None:
    """The projector of the run's source, checked beside the finished text model `text`; None where
    there is none, or none can be made, which is told."""
    known = run.model.projector
    if known is None or known.lacking:
        return None
    if any(isinstance(stage, DistillStage) and stage.student for stage in run.recipe.stages):
        run.listen(Warned(text=f"The student has not the {known.title}, which is left out."))
        return None
    try:
        file = _stored(known.path) if known.path else _written(run)
    except ExportRefused as error:
        run.listen(Warned(text=f"The text model is made alone. {error}"))
        return None
    found = _checked(run, file, text)
    failed = [check for check in found.checks if not check.passed]
    for check in found.checks:
        if check.warning:
            run.listen(Warned(text=check.warning))
    if failed:
        run.listen(
            Warned(
                text=f"The {known.title} cannot go along, and the text model is made alone: the "
                f"check of its {failed[0].name} failed: {failed[0].detail}"
            )
        )
        return None
    return found


def _stored(path: Path) -> StoredFile:
    return StoredFile(path=path, sha256=file_digest(path))


def _written(run: Run) -> StoredFile:
    """The projector of a checkpoint, by llama.cpp's converter."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "mmproj.gguf"
        find_gguf_exporter().export_projector(run.model, path, progress)
        return _stored(path)

    # The file says the model's name, which is the folder's and not in the source's digest.
    inputs = {"name": run.model.name}
    title = "Writing what reads pictures or sounds (mmproj)"
    return run.stage("projector", title, StoredFile, inputs, work)


def _checked(run: Run, file: StoredFile, text: StoredFile) -> ProjectorFile:
    """The projector with its checks: by itself, and loaded beside the text model."""

    def work(folder: Path, progress: Progress) -> ProjectorFile:
        checks = [
            check_projector(file.path, read_gguf(text.path).embedding_length),
            check_finite(file.path, progress).model_copy(update={"name": "projector's weights"}),
        ]
        compute_bytes = None
        if all(check.passed for check in checks):
            loads, compute_bytes = _loads(file.path, text.path)
            checks.append(loads)
        return ProjectorFile(
            file=file,
            type=_type_of(file.path),
            size_bytes=file.path.stat().st_size,
            compute_bytes=compute_bytes,
            checks=tuple(checks),
        )

    inputs = {"projector": file.sha256, "text": text.sha256}
    title = "Checking what reads pictures or sounds"
    return run.stage("check-projector", title, ProjectorFile, inputs, work)


def _type_of(path: Path) -> str | None:
    said = read_gguf_header(path).get("general.file_type")
    return next((name for name, preset in PRESETS.items() if preset.ftype == said), None)


def _loads(projector: Path, text_model: Path) -> tuple[CheckResult, int | None]:
    """Whether llama.cpp loads it, and what computing then takes."""
    try:
        found = LlamaCpp().load_projector(projector, text_model)
    except RuntimeRefused as error:
        return CheckResult(name="projector's load", passed=False, detail=str(error)), None
    except RuntimeMissing as error:
        detail = f"not tried: {error}"
        warning = f"The projector was not loaded. {error}"
        return (
            CheckResult(name="projector's load", passed=True, detail=detail, warning=warning),
            None,
        )
    reads = [name for name, can in (("pictures", found.vision), ("sounds", found.audio)) if can]
    detail = f"llama.cpp reads {' and '.join(reads)} with it"
    return CheckResult(name="projector's load", passed=True, detail=detail), found.compute_bytes
