"""A run's model with float weights: as GGUF, the base of everything, and as a checkpoint."""

from __future__ import annotations

from pathlib import Path

from edgecomp.events import Progress
from edgecomp.exporting import default_float_type, find_exporter
from edgecomp.pipeline import Run, StoredFile
from edgecomp.stage_cache import file_digest


def float_export(run: Run) -> StoredFile:
    """The model as a GGUF with float weights: the base of everything that follows."""
    float_type = default_float_type(run.model)

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / f"base-{float_type}.gguf"
        find_exporter("gguf").export(run.model, path, float_type, progress)
        return StoredFile(path=path, sha256=file_digest(path))

    title = f"Writing the float model ({float_type})"
    return run.stage("intake", title, StoredFile, {"type": float_type}, work)


def float_checkpoint(run: Run) -> Path:
    """A Hugging Face folder of the model: the source itself, or one made from a GGUF."""
    if run.model.source == "huggingface":
        return run.model.path

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "checkpoint"
        find_exporter("huggingface").export(run.model, path, None, progress)
        return StoredFile(path=path, sha256=run.source_digest)

    made: StoredFile = run.stage("checkpoint", "Writing a float checkpoint", StoredFile, {}, work)
    return made.path
