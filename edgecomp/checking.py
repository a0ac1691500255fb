"""The checks of a run, as stages: the float model against its source, the artifact by itself."""

from __future__ import annotations

from pathlib import Path

from edgecomp.artifact_checks import CheckResult, check_finite, check_size, check_types
from edgecomp.errors import ArtifactRejected
from edgecomp.events import Progress, Warned
from edgecomp.exporting import FloatType, default_float_type
from edgecomp.format_facts import SOURCE, tensor_types_of
from edgecomp.formats import PRESETS
from edgecomp.gguf.mix import fallbacks
from edgecomp.model import ModelSpec
from edgecomp.pipeline import Run, StoredFile
from edgecomp.token_id_check import check_token_ids
from edgecomp.value import Value


class Checks(Value):
    """The outcome of every check of an artifact."""

    results: tuple[CheckResult, ...]


def check_base(run: Run, base: StoredFile, checkpoint: Path) -> Checks:
    """That the float export is the source: its tokenizer and its greedy text."""
    float_type: FloatType = default_float_type(run.model)

    def work(folder: Path, progress: Progress) -> Checks:
        tokens = check_token_ids(run.model, base.path, run.runtime)
        greedy = run.in_torch(
            "greedy_check",
            progress,
            checkpoint=str(checkpoint),
            artifact=str(base.path),
            float_type=float_type,
        )
        return Checks(results=(tokens, CheckResult.model_validate(greedy)))

    return run.stage(
        "check-base",
        "Checking the float model against its source",
        Checks,
        {"base": base.sha256},
        work,
    )


def check_artifact(run: Run, file: StoredFile, planned_bytes: int, base: ModelSpec) -> Checks:
    """The artifact's own checks: tokenizer, numbers, size, types."""
    recipe = run.recipe
    planned = tensor_types_of(base, recipe.format, recipe.importance, recipe.tensor_types)
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
