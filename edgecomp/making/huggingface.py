"""Make a run's quantized checkpoint: float base, calibrate, make smaller, round, write, check."""

from __future__ import annotations

from pathlib import Path

from edgecomp.checks.artifact_checks import CheckResult
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.digests import path_digest, tree_digest
from edgecomp.common.events import Progress
from edgecomp.formats.exporting import find_huggingface_exporter
from edgecomp.formats.huggingface_layouts import huggingface_types
from edgecomp.making.artifact import Artifact
from edgecomp.making.calibration_rows import calibrated_tokens
from edgecomp.making.float_model import float_checkpoint, float_export
from edgecomp.making.gguf import chosen_codes
from edgecomp.making.gguf_checks import Checks, check_base, require
from edgecomp.making.learned import with_possible_rounding
from edgecomp.making.shrinking import shrunk_checkpoint
from edgecomp.models.reading import read_model
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile


def make_huggingface_artifact(run: Run) -> Artifact:
    """Make the artifact, a folder, and check it. Raises ArtifactRejected, naming the check it
    failed."""
    run = with_possible_rounding(run)
    base = float_export(run)
    checkpoint = float_checkpoint(run)
    checks = check_base(run, base, checkpoint).results
    require(run, checks, base.path)
    calibration = calibrated_tokens(run, base)
    shrunk = shrunk_checkpoint(run, base, checkpoint, calibration)
    types = huggingface_types(read_model(shrunk.checkpoint), run.recipe.format)
    codes = chosen_codes(run, shrunk.checkpoint, calibration, types, shrunk.done)
    folder = _written(run, codes)
    checks += _check(run, folder, codes, base).results
    require(run, checks, folder.path)
    return Artifact(
        file=folder,
        size_bytes=sum(file.stat().st_size for file in folder.path.iterdir()),
        types=types,
        fallbacks={},
        checks=checks,
        calibration=calibration.record,
        # In transformers it is compared with the float folder, not with the GGUF that checked it.
        base=StoredFile(path=checkpoint, sha256=path_digest(checkpoint)),
        distillations=shrunk.histories,
    )


def _written(run: Run, codes: StoredFile) -> StoredFile:
    name = run.recipe.format

    def work(folder: Path, progress: Progress) -> StoredFile:
        path = folder / name
        find_huggingface_exporter().export_quantized(codes.path, path, name, progress)
        return StoredFile(path=path, sha256=tree_digest(path))

    inputs = {"codes": codes.sha256, "format": name}
    return run.stage("quantized-export", f"Writing {name}", StoredFile, inputs, work)


def _check(run: Run, made: StoredFile, codes: StoredFile, base: StoredFile) -> Checks:
    """That the written folder, read again, holds the solver's values, and has the source's
    tokenizer."""

    def work(folder: Path, progress: Progress) -> Checks:
        wrong = find_huggingface_exporter().differing_weights(made.path, codes.path)
        values = CheckResult(
            name="values",
            passed=not wrong,
            detail=f"{wrong[0]} is not what the solver chose"
            if wrong
            else "every quantized weight, read again, is what the solver chose",
        )
        spec = read_model(made.path)
        if spec.tokenizer is None:
            return Checks(results=(values,))
        return Checks(results=(check_token_ids(spec, base.path, run.runtime), values))

    inputs = {"artifact": made.sha256, "base": base.sha256}
    return run.stage("check", "Checking the artifact", Checks, inputs, work)
