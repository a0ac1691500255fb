"""The checks of a run, as stages: the float model against its source, the artifact by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgecomp.checks.artifact_checks import CheckResult, check_finite, check_size, check_types
from edgecomp.checks.greedy_check import LearnedCheck
from edgecomp.checks.token_id_check import check_token_ids
from edgecomp.common.errors import ArtifactRejected
from edgecomp.common.events import Progress, Warned
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.formats.exporting import FloatType, default_float_type, find_exporter
from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.gguf_mix import fallbacks
from edgecomp.formats.presets import PRESETS, SOURCE
from edgecomp.making.float_model import float_source
from edgecomp.making.learned import is_learned
from edgecomp.models.spec import ModelSpec
from edgecomp.pipeline.run import Run
from edgecomp.pipeline.stage_cache import StoredFile


class Checks(FrozenModel):
    """The outcome of every check of an artifact."""

    results: tuple[CheckResult, ...]
    walks: bool = True
    """Whether the source may pass through torch block by block: it gives its own logits so."""


def check_base(run: Run, base: StoredFile, checkpoint: Path | None) -> Checks:
    """That the float export is the source: its tokenizer and its greedy text.

    A file of llama.cpp's converter is also looked through for numbers that are none; without a
    checkpoint, of a GGUF source that only llama.cpp runs, that and the tokenizer is all there is.
    """
    learned = checkpoint is None or is_learned(run.model)
    float_type: FloatType = default_float_type(run.model)

    def work(folder: Path, progress: Progress) -> Checks:
        first = [check_token_ids(run.model, base.path, run.runtime)]
        if learned:
            first.append(check_finite(base.path, progress))
        if checkpoint is None or (learned and not all(check.passed for check in first)):
            return Checks(results=tuple(first), walks=False)

        def greedy(file: Path, kind: FloatType) -> LearnedCheck:
            answer = run.in_torch(
                "learned_check" if learned else "greedy_check",
                progress,
                checkpoint=str(checkpoint),
                artifact=str(file),
                float_type=kind,
            )
            if learned:
                return LearnedCheck.model_validate(answer)
            return LearnedCheck(result=CheckResult.model_validate(answer), walks=True)

        found = greedy(base.path, float_type)
        rounds = learned or run.model.experts
        if not found.result.passed and rounds and float_type != "F32":
            found = _without_rounding(run, folder, float_type, greedy, progress)
        return Checks(results=(*first, found.result), walks=found.walks)

    inputs = {"base": base.sha256, **({"learned": True} if learned else {})}
    title = "Checking the float model against its source"
    return run.stage("check-base", title, Checks, inputs, work)


def _without_rounding(
    run: Run,
    folder: Path,
    float_type: FloatType,
    greedy: Callable[[Path, FloatType], LearnedCheck],
    progress: Progress,
) -> LearnedCheck:
    """The greedy text of the weights as F32, whose kernels round nothing.

    Where two experts are all but equally good for a token, rounded activations send it to the
    other one, and no bound on rounding errors holds for what comes out; a recurrent state carries
    them on. In F32 the routers choose as the source's do, so that a fault of the export shows and
    rounding does not.
    """
    path = folder / "exact-F32.gguf"
    try:
        find_exporter("gguf").export(float_source(run), path, "F32", progress)
        found = greedy(path, "F32")
    finally:
        path.unlink(missing_ok=True)
    if not found.result.passed:
        return found
    detail = f"{found.result.detail}, as F32; {float_type} kernels round too much to compare"
    result = found.result.model_copy(update={"detail": detail})
    return found.model_copy(update={"result": result})


def check_artifact(run: Run, file: StoredFile, planned_bytes: int, base: ModelSpec) -> Checks:
    """The artifact's own checks: tokenizer, numbers, size, types."""
    recipe = run.recipe
    planned = tensor_types_of(
        base, recipe.format, importance=recipe.importance, overrides=recipe.tensor_types
    )
    fallen = {} if recipe.format == SOURCE else fallbacks(base, planned, PRESETS[recipe.format])

    def work(folder: Path, progress: Progress) -> Checks:
        return Checks(
            results=(
                check_token_ids(run.model, file.path, run.runtime),
                check_finite(file.path, progress),
                check_size(file.path, planned_bytes),
                check_types(file.path, planned, fallen),
            )
        )

    inputs = {"artifact": file.sha256, "planned": planned, "bytes": planned_bytes}
    return run.stage("check", "Checking the artifact", Checks, inputs, work)


def require(run: Run, checks: tuple[CheckResult, ...], path: Path) -> None:
    """Pass on what the checks warn of. Raises ArtifactRejected, naming the first that failed."""
    failed = [check for check in checks if not check.passed]
    if failed:
        raise ArtifactRejected(
            f"{path} is not what it should be: the check of {failed[0].name} failed: "
            f"{failed[0].detail}. It is not shipped; please report this with the model's name."
        )
    for check in checks:
        if check.warning:
            run.listen(Warned(text=check.warning))
