"""Audit anyone's GGUF files of one base: what each is, what it lost, and which is the best.

Every file passes the checks that need no question, is compared with the base's predictions, and is
asked until each capability is decided; the base answers once for all of them. The base may also be
llama.cpp's own file of logits: then predictions alone are compared, and no verdict is given.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Literal

from edgecomp.bundles.artifact_argument import NamedArtifact, find_artifact
from edgecomp.checks.artifact_checks import CheckResult, check_finite, tensor_types
from edgecomp.checks.base_check import (
    check_chat_template,
    check_same_checkpoint,
    check_shape,
    check_special_tokens,
)
from edgecomp.common.digests import path_digest
from edgecomp.common.errors import ArtifactRejected, EvidenceTooNarrow
from edgecomp.common.events import Listener, Warned
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.comparison import ScoreComparison
from edgecomp.evaluate.divergence import DivergenceSummary, separable, summarise
from edgecomp.evaluate.questions import evaluation_text
from edgecomp.jobs import evaluation_stages as evaluation_stages
from edgecomp.jobs.evaluation import (
    Evaluation,
    EvaluationRequest,
    Examination,
    evaluate_artifact,
    model_under_test,
)
from edgecomp.judging.verdict import Level
from edgecomp.models.reading import read_model
from edgecomp.recipes.recipe import EvaluationSettings
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.logits_file import is_logits_file, read_logits_file
from edgecomp.runtimes.protocol import Windows

BEST_FIRST: tuple[Level, ...] = (
    "ship", "ship with accepted losses", "incomplete", "recalibrate", "do not ship",
)  # fmt: skip

DECISIVE_CHECKS = ("shape", "finite weights", "token ids")
"""A file that fails one of these is no version of its base, whatever it answers."""


class AuditRequest(Examination):
    """Which files, beside what base, and how they are asked."""

    files: tuple[str, ...]
    base: str
    """A GGUF file, a bundle or `demo`; or a file of logits by llama.cpp."""


class AuditedFile(FrozenModel):
    """One file, and what was found of it."""

    path: Path
    sha256: str
    same_as: Path | None
    """An earlier file of the list with the same bytes: it was not asked again."""

    size_bytes: int
    bits_per_weight: float
    types: dict[str, int]
    """Tensors of each type."""

    left_out: str | None
    """A matrix that the file stores a second time."""

    checks: tuple[CheckResult, ...]
    divergence: DivergenceSummary | None
    evaluation: Evaluation | None
    """None where a decisive check failed, or the base is a file of logits."""

    level: Level | None
    """None where nothing was judged."""

    why: str

    @property
    def categories(self) -> tuple[ScoreComparison, ...]:
        """What it lost of each category, where it was asked."""
        compared = self.evaluation.comparison if self.evaluation else None
        return compared.categories if compared else ()


class Audit(FrozenModel):
    """The files, best first, and what separates each from the next."""

    schema_version: Literal[1] = 1
    base: str
    files: tuple[AuditedFile, ...]
    apart: tuple[str, ...]


def audit(request: AuditRequest, listen: Listener) -> Audit:
    """Audit `request`'s files. Raises ModelNotFound, FileCorrupt and their kin before any work,
    ArtifactRejected for what is no GGUF file, and what an evaluation raises."""
    named = [_gguf(name) for name in request.files]
    logits = Path(request.base).expanduser()
    base = None if is_logits_file(logits) else _gguf(request.base)
    if base is None:
        read_logits_file(logits)
    found: list[AuditedFile] = []
    for file in named:
        facts = _facts(file.path, found)
        if facts.same_as is not None:
            twin = next(row for row in found if row.path == facts.same_as)
            kept = {"path": facts.path, "same_as": twin.path}
            found.append(twin.model_copy(update=kept))
        elif base is None:
            found.append(_against_logits(facts, logits))
        else:
            found.append(_against_base(facts, file, base, request, listen))
    ranked = tuple(sorted(found, key=_rank))
    return Audit(
        base=request.base,
        files=ranked,
        apart=tuple(_apart(*pair) for pair in pairwise(ranked)),
    )


def save_logits(base: str, data: Path | None, destination: Path) -> None:
    """Write what `base` predicts over the evaluation text as llama.cpp's tools read it with
    `--kl-divergence-base`."""
    file, wanted = _gguf(base), EvaluationSettings()
    LlamaCpp().write_logits(
        file.path,
        _settings(wanted.window_tokens),
        evaluation_text(data, wanted),
        windows=Windows(wanted.window_tokens, wanted.windows),
        destination=destination,
    )


def _gguf(name: str) -> NamedArtifact:
    found = find_artifact(name)
    if found.runtime != "llama.cpp":
        raise ArtifactRejected(
            f"{found.path} is no GGUF file. `edgecomp evaluate` examines what other runtimes run."
        )
    return found


def _facts(path: Path, before: list[AuditedFile]) -> AuditedFile:
    """What the file says by itself."""
    digest = path_digest(path)
    spec = read_model(path)
    twin = next((row.path for row in before if row.sha256 == digest), None)
    return AuditedFile(
        path=path,
        sha256=digest,
        same_as=twin,
        size_bytes=path.stat().st_size,
        bits_per_weight=spec.as_stored.bits_per_weight,
        types=dict(Counter(tensor_types(path).values()).most_common()),
        left_out=spec.left_out.source_name if spec.left_out else None,
        checks=(),
        divergence=None,
        evaluation=None,
        level=None,
        why="",
    )


def _against_base(
    facts: AuditedFile,
    file: NamedArtifact,
    base: NamedArtifact,
    wanted: Examination,
    listen: Listener,
) -> AuditedFile:
    path = facts.path
    # The evaluation takes the same comparison of the tokenizers from the cache.
    subjects = model_under_test(base, "base", listen), model_under_test(file, "artifact", listen)
    checks = (
        check_shape(base.path, path),
        check_finite(path),
        evaluation_stages.same_tokens(*subjects),
        check_special_tokens(base.path, path),
        check_chat_template(base.path, path),
        check_same_checkpoint(base.path, path),
    )
    failed = [check for check in checks if not check.passed]
    for check in failed:
        listen(Warned(text=f"{path.name}: {check.name}: {check.detail}."))
    decisive = [check for check in failed if check.name in DECISIVE_CHECKS]
    if decisive:
        why = "; ".join(f"{check.name}: {check.detail}" for check in decisive)
        return facts.model_copy(update={"checks": checks, "level": "do not ship", "why": why})
    how = {name: getattr(wanted, name) for name in Examination.model_fields}
    asked = EvaluationRequest(artifact=str(path), base=str(base.path), **how)
    evaluation = evaluate_artifact(asked, listen)
    verdict = evaluation.verdict
    assert verdict is not None, "beside a base there is a verdict"
    reasons = [f"{check.name}: {check.detail}" for check in failed]
    return facts.model_copy(
        update={
            "checks": checks,
            "divergence": evaluation.divergence,
            "evaluation": evaluation,
            "level": verdict.level,
            "why": " ".join([verdict.summary, *(f"{reason}." for reason in reasons)]),
        }
    )


def _against_logits(facts: AuditedFile, logits: Path) -> AuditedFile:
    finite = check_finite(facts.path)
    kept = read_logits_file(logits)
    samples = LlamaCpp().compare_logits(logits, facts.path, _settings(kept.context))
    if not any(samples.kl):
        raise EvidenceTooNarrow(f"{logits} holds no scored token.")
    why = "" if finite.passed else f"{finite.name}: {finite.detail}"
    return facts.model_copy(
        update={"checks": (finite,), "divergence": summarise(samples), "why": why}
    )


def _settings(context: int) -> RunSettings:
    return RunSettings(
        context=context, outputs=evaluation_stages.DIVERGENCE_OUTPUTS, threads=physical_cores()
    )


def _rank(file: AuditedFile) -> tuple[float, ...]:
    """Lower is better: the verdict, then what is lost, then divergence."""
    place = BEST_FIRST.index(file.level) if file.level else 0
    lost = sum(row.decision == "lost" for row in file.categories)
    return place, lost, file.divergence.kl_or_infinity if file.divergence else float("inf")


def _apart(better: AuditedFile, worse: AuditedFile) -> str:
    """What separates two neighbours."""
    names = f"{better.path.name} before {worse.path.name}"
    if better.sha256 == worse.sha256:
        return f"{names}: the same bytes."
    if better.level != worse.level:
        return f"{names}: {better.level} against {worse.level}."
    if better.divergence is None or worse.divergence is None:
        return f"{names}: neither could be compared with the base."
    nats = f"{better.divergence.kl_mean:.4f} against {worse.divergence.kl_mean:.4f} nats"
    flips = f"; answers lost and won: {_flips(better)} against {_flips(worse)}"
    flips = flips if better.categories and worse.categories else ""
    if separable(better.divergence, worse.divergence):
        return f"{names}: {nats}{flips}."
    return f"{names}: not separable by divergence ({nats}){flips}."


def _flips(file: AuditedFile) -> str:
    rows = file.categories
    asked = sum(row.items or 0 for row in rows)
    return f"{sum(r.lost_items for r in rows)} and {sum(r.won_items for r in rows)} of {asked}"
