"""A run's model with float weights: as GGUF, the base of everything, and as a checkpoint."""

from __future__ import annotations

from pathlib import Path

from edgecomp.common.digests import file_digest, tree_digest
from edgecomp.common.events import Progress, Warned
from edgecomp.formats.exporting import default_float_type, find_exporter
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile


def float_source(run: Run) -> ModelSpec:
    """The headers of the model with float weights, or of the GGUF file they are still to be made
    from: a quantized checkpoint is dequantized first, and its user told what that means."""
    if run.model.source == "gguf" or not run.model.quantization:
        return run.model
    run.listen(
        Warned(
            text=f"The source is quantized ({run.model.quantization}): its weights are rounded a "
            "second time, and what is lost is measured against it, not against the original. "
            "Give the original where it is to be had."
        )
    )
    return read_model(float_checkpoint(run)).model_copy(update={"name": run.model.name})


def float_export(run: Run) -> StoredFile:
    """The model as a GGUF with float weights: the base of everything that follows."""
    model = float_source(run)
    float_type = default_float_type(model)

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / f"base-{float_type}.gguf"
        find_exporter("gguf").export(model, path, float_type, progress)
        return StoredFile(path=path, sha256=file_digest(path))

    title = f"Writing the float model ({float_type})"
    # The file says the model's name, which is the folder's and not in the source's digest.
    inputs = {"type": float_type, "name": model.name}
    return run.stage("intake", title, StoredFile, inputs, work)


def torch_checkpoint(run: Run) -> Path | None:
    """`float_checkpoint` for methods that need torch; None where there can be none: of a GGUF file
    whose family has no row that says how to write one."""
    family = run.model.family
    if run.model.source == "gguf" and (family is None or family.hf_type is None):
        return None
    return float_checkpoint(run)


def float_checkpoint(run: Run) -> Path:
    """A Hugging Face folder of the model: the source itself, or one made from a GGUF or from a
    quantized checkpoint."""
    if run.model.source == "huggingface" and not run.model.quantization:
        return run.model.path

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / "checkpoint"
        find_exporter("huggingface").export(run.model, path, None, progress)
        return StoredFile(path=path, sha256=tree_digest(path))

    title = "Writing a float checkpoint"
    made: StoredFile = run.stage("checkpoint", title, StoredFile, {}, work, any_runtime=True)
    return made.path
