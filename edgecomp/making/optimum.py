"""Make an ONNX artifact by optimum: float export, check it against the source, round it, check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.digests import tree_digest
from edgecomp.common.errors import ArtifactRejected, RuntimeRefused
from edgecomp.common.events import Progress
from edgecomp.common.safe_text import one_line
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.exporting import find_optimum_exporter
from edgecomp.formats.optimum_formats import DECODER, FLOAT_FORMAT, OPTIMUM_FORMATS, optimum_task
from edgecomp.making.artifact import Artifact
from edgecomp.making.float_model import float_checkpoint
from edgecomp.making.gguf_checks import Checks, require
from edgecomp.making.onnx import check_float, graph_check
from edgecomp.models.onnx_folder import load_graph, opset_versions
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Windows

DIVERGENCE_WINDOWS, WINDOW_TOKENS = 4, 128


def make_optimum_artifact(run: Run) -> Artifact:
    """Make the artifact, a folder, and check it. Raises ArtifactRejected, naming the check it
    failed, and what the exporter raises."""
    name = run.recipe.format
    checkpoint = float_checkpoint(run)
    decodes = optimum_task(read_model(checkpoint)) == DECODER
    base = _export(run, checkpoint, FLOAT_FORMAT)
    if decodes:
        checks = _check_decoder(run, base, checkpoint)
    else:
        checks = _check_encoder(run, base, checkpoint, rounded=False).results
    require(run, checks, base.path)
    file = base
    if OPTIMUM_FORMATS[name].rounds:
        file = _export(run, checkpoint, name)
        if decodes:
            checks += _check_rounded(run, file, base, checkpoint).results
        else:
            checks += _check_encoder(run, file, checkpoint, rounded=True).results
    graph = load_graph(file.path)
    checks += (graph_check(graph.ir_version, opset_versions(graph), graph.producer_name),)
    require(run, checks, file.path)
    return Artifact(
        file=file,
        size_bytes=sum(part.stat().st_size for part in file.path.iterdir()),
        types=_types(graph),
        fallbacks={},
        checks=checks,
        calibration=None,
        base=base,
    )


def _export(run: Run, checkpoint: Path, name: str) -> StoredFile:
    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / name
        run.torch.end()  # As for the other builder (making/onnx.py).
        find_optimum_exporter().export_format(read_model(checkpoint), path, name, progress)
        return StoredFile(path=path, sha256=tree_digest(path))

    return run.stage("optimum-export", f"Exporting as {name}", StoredFile, {"format": name}, work)


def _check_decoder(run: Run, base: StoredFile, checkpoint: Path) -> tuple[CheckResult, ...]:
    """A float decoder beside its source. Raises ArtifactRejected where its graph does not run: it
    then holds for the tokens alone that it was traced with."""
    try:
        return check_float(run, base, checkpoint).results
    except RuntimeRefused as error:
        raise ArtifactRejected(
            f"Optimum's graph of {run.model.name} does not run on other tokens than those that it "
            f"was traced with ({one_line(str(error))}). Nothing was kept; choose a GGUF format."
        ) from error


def _check_encoder(run: Run, file: StoredFile, checkpoint: Path, *, rounded: bool) -> Checks:
    """An encoder's token ids and outputs beside those of its source in transformers."""

    def work(folder: Path, progress: Progress) -> Checks:
        found = run.in_torch(
            "encoder_check",
            progress,
            checkpoint=str(checkpoint),
            artifact=str(file.path),
            rounded=rounded,
        )
        return Checks.model_validate({"results": found})

    title = "Checking the encoder against its source"
    return run.stage("check-encoder", title, Checks, {"artifact": file.sha256}, work)


def _check_rounded(run: Run, file: StoredFile, base: StoredFile, checkpoint: Path) -> Checks:
    """A rounded decoder's token ids, and how far it diverges from the float export."""

    def work(folder: Path, progress: Progress) -> Checks:
        tokens = check_token_ids(read_model(checkpoint), file.path, run.runtime)
        window = min(WINDOW_TOKENS, run.model.context_length)
        settings = RunSettings(context=window, outputs=window, threads=run.threads, kv_type="F32")
        samples = run.runtime.compare(
            base.path,
            file.path,
            settings,
            divergence_text(),
            windows=Windows(tokens=window, number=DIVERGENCE_WINDOWS),
            progress=progress,
        )
        kl, agree = np.asarray(samples.kl), np.asarray(samples.agree)
        divergence = CheckResult(
            name="divergence",
            passed=bool(np.isfinite(kl).all()),
            detail=f"KL {kl.mean():.4f} nats from the float export over {kl.size} tokens, "
            f"{100 * agree.mean():.1f} % the same first choice",
        )
        return Checks(results=(tokens, divergence))

    inputs = {"artifact": file.sha256, "base": base.sha256}
    return run.stage("check", "Checking the artifact", Checks, inputs, work)


def _types(graph: Any) -> dict[str, str]:
    """The type of every matrix of `graph` (onnx.ModelProto), by its name there."""
    import onnx

    return {
        tensor.name: onnx.TensorProto.DataType.Name(tensor.data_type)
        for tensor in graph.graph.initializer
        if len(tensor.dims) > 1
    }
