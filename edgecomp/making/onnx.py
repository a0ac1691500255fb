"""Make a run's ONNX artifact: float export, calibrate, make smaller, round, export, put the codes
in, check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.checks.artifact_checks import CheckResult, check_size
from edgecomp.checks.greedy_check import MORE_PROMPTS, PROMPTS
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.digests import tree_digest
from edgecomp.common.events import Progress
from edgecomp.formats.exporting import find_onnx_exporter
from edgecomp.formats.onnx_formats import (
    judged_format,
    onnx_data_bytes,
    onnx_format,
    onnx_types,
)
from edgecomp.making.artifact import Artifact
from edgecomp.making.calibration_rows import calibrated_tokens
from edgecomp.making.float_model import float_checkpoint
from edgecomp.making.gguf import chosen_codes, needs_calibration
from edgecomp.making.gguf_checks import Checks, require
from edgecomp.making.learned import with_possible_rounding
from edgecomp.making.onnx_mix import onnx_bit_allocation
from edgecomp.making.provider_package import WEIGHT_BYTES, Exported, make_provider_package
from edgecomp.making.shrinking import PrunedOrDistilled, shrunk_checkpoint
from edgecomp.models.onnx_folder import DATA, read_onnx_folder
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile
from edgecomp.recipes.recipe import Recipe

BASE_FORMAT = "onnx-fp32"


def make_onnx_artifact(run: Run) -> Artifact:
    """Make the artifact and check it. Raises ArtifactRejected, naming the check it failed."""
    run = with_possible_rounding(run)
    recipe, name = run.recipe, judged_format(run.recipe.format)
    checkpoint = float_checkpoint(run)
    base = export(run, checkpoint, BASE_FORMAT)
    checks = check_float(run, base, checkpoint).results
    require(run, checks, base.path)
    calibration = calibrated_tokens(run, base) if needs_calibration(recipe, run.model) else None
    made = PrunedOrDistilled(checkpoint, [], ())
    if recipe.stages and calibration:
        made = shrunk_checkpoint(run, base, checkpoint, calibration)
    spec = read_model(made.checkpoint)
    mix, overrides = None, recipe.tensor_types
    if recipe.mix and calibration and not overrides:
        mix = onnx_bit_allocation(run, base.path, made.checkpoint, spec, calibration, made.done)
        overrides = mix.types
    types = onnx_types(spec, name, overrides=overrides)
    codes = None
    if calibration and _solves(recipe):
        codes = chosen_codes(run, made.checkpoint, calibration, types, made.done)
    if recipe.stages or name != BASE_FORMAT:
        file = export(run, made.checkpoint, name, codes, made.done)
    else:
        file = base
    if recipe.stages and name == BASE_FORMAT:
        checks += check_float(run, file, made.checkpoint).results
    checks += check_onnx(run, file, spec, onnx_data_bytes(spec, name, overrides=overrides)).results
    require(run, checks, file.path)
    package = None
    if recipe.provider != "cpu":
        exported = codes.path if codes else made.checkpoint
        source = Exported(exported, bool(codes), made.done, overrides)
        package = make_provider_package(run, file, source)
        require(run, package.checks, package.file.path)
    return Artifact(
        file=file,
        package=package,
        size_bytes=package.size_bytes if package else read_onnx_folder(file.path).size_bytes,
        types=types,
        fallbacks={},
        checks=checks,
        calibration=calibration.record if calibration else None,
        base=base,
        distillations=made.histories,
        mixture=mix,
    )


def _solves(recipe: Recipe) -> bool:
    """Whether our solvers choose the codes; the builder rounds all others to nearest."""
    return recipe.rounding != "llama.cpp" and onnx_format(recipe.format).is_solved


def export(
    run: Run,
    checkpoint: Path,
    name: str,
    codes: StoredFile | None = None,
    done: Sequence[Any] = (),
) -> StoredFile:
    """The float checkpoint `checkpoint`, which the stages `done` left, in an ONNX format; `codes`:
    the rounded one of it, with its codes beside, that is exported in its place."""

    def work(folder: Path, progress: Progress) -> StoredFile:
        path, exporter = folder / name, find_onnx_exporter()
        source = codes.path if codes else checkpoint
        run.torch.end()  # The builder holds the whole model: an idle worker's memory is its.
        exporter.export_format(read_model(source), path, name, progress=progress)
        if codes:
            exporter.insert_codes(path, source)
        return StoredFile(path=path, sha256=tree_digest(path))

    inputs = {"format": name, "codes": codes.sha256 if codes else None, "stages": list(done)}
    return run.stage("onnx-export", f"Exporting as {name}", StoredFile, inputs, work)


def check_float(run: Run, base: StoredFile, checkpoint: Path) -> Checks:
    """That the float export is the source: its tokenizer, and its greedy text on 20 prompts."""

    def work(folder: Path, progress: Progress) -> Checks:
        tokens = check_token_ids(read_model(checkpoint), base.path, run.runtime)
        greedy = run.in_torch(
            "greedy_check",
            progress,
            checkpoint=str(checkpoint),
            artifact=str(base.path),
            float_type="F32",
            runtime=run.runtime.name,
            prompts=[*PROMPTS, *MORE_PROMPTS],
        )
        return Checks(results=(tokens, CheckResult.model_validate(greedy)))

    title = "Checking the float model against its source"
    return run.stage("check-base", title, Checks, {"base": base.sha256}, work)


def check_onnx(run: Run, file: StoredFile, source: ModelSpec, planned_bytes: int) -> Checks:
    """The artifact's own checks: the tokenizer of the checkpoint `source`, and the size. ONNX's
    checker passed when it was exported."""

    def work(folder: Path, progress: Progress) -> Checks:
        found = read_onnx_folder(file.path)
        return Checks(
            results=(
                check_token_ids(source, file.path, run.runtime),
                check_size(file.path / DATA, planned_bytes, unit=WEIGHT_BYTES),
                graph_check(found.ir_version, found.opsets, found.producer),
            )
        )

    inputs = {"artifact": file.sha256, "bytes": planned_bytes}
    return run.stage("check", "Checking the artifact", Checks, inputs, work)


def graph_check(ir_version: int, opsets: Mapping[str, int], producer: str) -> CheckResult:
    """What made a graph; ONNX's checker passed when it was exported."""
    sets = ", ".join(f"{name} {version}" for name, version in opsets.items())
    return CheckResult(
        name="graph",
        passed=True,
        detail=f"ONNX's checker and shape inference passed; IR version {ir_version}, operator sets "
        f"{sets}, by {producer}",
    )
