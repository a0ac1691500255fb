"""Several bundles side by side: efficiency, performance, reliability, divergence (R8, R43).

Figures are set beside each other only where they mean the same: divergences and drops of variants
of one base over the same text and questions, speeds of one machine. What differs is said, and a
comparison by perplexity or one aggregate alone is refused (R100).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from edgecomp.bundles.bundle import read_manifest
from edgecomp.common.errors import BundleBroken, EvidenceTooNarrow
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.comparison import Comparison, require_breadth
from edgecomp.evaluate.divergence import DivergenceSummary, separable
from edgecomp.evaluate.items import Bucket
from edgecomp.evaluate.statistics import Spread
from edgecomp.judging.verdict import REQUIRED, Level
from edgecomp.reporting.report import Report

Only = Literal["perplexity"]


class Variant(FrozenModel):
    """One bundle's figures."""

    name: str
    """The bundle's folder; with its parents where names would be the same."""

    model: str
    format: str
    base_sha256: str
    artifact_bytes: int
    bits_per_weight: float
    context: int
    runtime: str
    peak_memory_bytes: int
    depth: int
    """Tokens in the context where speeds were measured."""

    decode_tokens_per_second: Spread
    prefill_tokens_per_second: Spread
    first_token_seconds: Spread
    divergence: DivergenceSummary
    divergence_by_capability: dict[Bucket, DivergenceSummary] = Field(default={})
    comparison: Comparison
    level: Level
    summary: str
    on_front: bool = False
    """No other variant of the same base is as small, as fast and as close to the base, and better
    in one of these."""


class BundleComparison(FrozenModel):
    """The variants, in the order given, and what limits the comparison."""

    schema_version: Literal[1] = 1
    only: Only | None
    variants: tuple[Variant, ...]
    notices: tuple[str, ...]


def compare_bundles(folders: Sequence[Path], only: Only | None = None) -> BundleComparison:
    """Compare two or more bundles.

    Raises BundleBroken, and EvidenceTooNarrow where fewer than two are given or where one rests on
    perplexity or a single category and `only` does not ask for perplexity.
    """
    if len(set(folders)) < 2:
        raise EvidenceTooNarrow("A comparison needs two bundles or more.")
    reports = [read_report(folder) for folder in folders]
    if only is None:
        for folder, report in zip(folders, reports, strict=True):
            _require_breadth(folder, report.comparison)
    names = _names(folders)
    variants = [_variant(name, report) for name, report in zip(names, reports, strict=True)]
    return BundleComparison(
        only=only,
        variants=tuple(
            row.model_copy(update={"on_front": on_front(row, variants)}) for row in variants
        ),
        notices=(*_notices(names, reports), *_inseparable(variants), *_missing(variants, only)),
    )


def read_report(folder: Path) -> Report:
    """The report of a bundle. Raises BundleBroken."""
    read_manifest(folder)
    path = folder / "report.json"
    try:
        return Report.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BundleBroken(f"{path} cannot be read: {error}. Make the bundle again.") from error
    except ValidationError as error:
        raise BundleBroken(
            f"{path} is not a report of this version of edgecomp. Make the bundle again."
        ) from error


def on_front(variant: Variant, variants: Sequence[Variant]) -> bool:
    """Whether no variant of the same base dominates in size, decode speed and divergence."""
    return not any(
        _dominates(other, variant)
        for other in variants
        if other is not variant and _scale(other) == _scale(variant)
    )


def _dominates(other: Variant, variant: Variant) -> bool:
    costs, others = (
        (
            row.artifact_bytes,
            -row.decode_tokens_per_second.median,
            row.divergence.kl_or_infinity,
        )
        for row in (other, variant)
    )
    return costs != others and all(a <= b for a, b in zip(costs, others, strict=True))


def _scale(variant: Variant) -> tuple[str, int, int]:
    """Divergences are on one scale where base and text are the same."""
    return variant.base_sha256, variant.divergence.windows, variant.divergence.tokens


def _require_breadth(folder: Path, comparison: Comparison) -> None:
    try:
        require_breadth(comparison)
    except EvidenceTooNarrow as error:
        seen = {row.category for row in comparison.categories}
        missing = ", ".join(category for category in REQUIRED if category not in seen)
        raise EvidenceTooNarrow(f"{folder}: {error} Missing: {missing}.") from error


def _names(folders: Sequence[Path]) -> list[str]:
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _variant(name: str, report: Report) -> Variant:
    row = report.measurement.at(report.chosen.speed.prompt_tokens)
    return Variant(
        name=name,
        model=report.model.name,
        format=report.chosen.format,
        base_sha256=report.artifact.base.sha256,
        artifact_bytes=report.artifact.size_bytes,
        bits_per_weight=report.chosen.bits_per_weight,
        context=report.chosen.context,
        runtime=report.measurement.runtime,
        peak_memory_bytes=report.measurement.peak_memory_bytes,
        depth=row.depth,
        decode_tokens_per_second=row.decode_tokens_per_second,
        prefill_tokens_per_second=row.prefill_tokens_per_second,
        first_token_seconds=row.first_token_seconds,
        divergence=report.divergence,
        divergence_by_capability=report.divergence_by_capability,
        comparison=report.comparison,
        level=report.verdict.level,
        summary=report.verdict.summary,
    )


def _notices(names: Sequence[str], reports: Sequence[Report]) -> list[str]:
    """Where figures of the bundles do not mean the same."""
    checks: list[tuple[Callable[[Report], Hashable], str]] = [
        (
            lambda report: report.artifact.base.sha256,
            "They come from different bases: drops and divergences are each from its own base, and "
            "the Pareto front is drawn within each base.",
        ),
        (
            lambda report: (report.divergence.windows, report.divergence.tokens),
            "Divergence was measured over different amounts of text; the Pareto front is drawn "
            "among those with the same.",
        ),
        (_questions, "They answered different questions: their scores and drops are not paired."),
        (
            lambda report: report.measurement.machine.processor,
            "They were measured on different machines: speeds do not compare.",
        ),
        (
            lambda report: report.measurement.settings.threads,
            "They were measured with different numbers of threads: speeds do not compare.",
        ),
        (
            lambda report: report.chosen.context,
            "They were made for different contexts: peak memories hold KV caches of other sizes.",
        ),
    ]
    notices = []
    for key, said in checks:
        groups: dict[Hashable, list[str]] = {}
        for name, report in zip(names, reports, strict=True):
            groups.setdefault(key(report), []).append(name)
        if len(groups) > 1:
            shown = "; ".join(", ".join(group) for group in groups.values())
            notices.append(f"{said} ({shown})")
    busy = [n for n, row in zip(names, reports, strict=True) if row.measurement.machine.busy]
    if busy:
        notices.append(f"The machine was busy when these were measured: {', '.join(busy)}.")
    return notices


def _questions(report: Report) -> Hashable:
    """What tells the questions apart: the sets they were drawn from, or else that a base scores the
    same on the same ones."""
    if report.comparison.questions:
        return report.comparison.questions
    rows = report.comparison.benchmarks or report.comparison.categories
    return tuple(sorted((row.name, row.items, row.base_percent) for row in rows))


def _inseparable(variants: Sequence[Variant]) -> list[str]:
    """Variants of one base that divergence cannot rank."""
    alike = [
        f"{first.name} and {second.name}"
        for first, second in combinations(variants, 2)
        if _scale(first) == _scale(second) and not separable(first.divergence, second.divergence)
    ]
    said = "Not separable by divergence, so that only answers, size and speed tell them apart"
    return [f"{said}: {'; '.join(alike)}."] if alike else []


def _missing(variants: Sequence[Variant], only: Only | None) -> list[str]:
    """Required categories that a variant was not examined in, or that were not asked for."""
    if only:
        return [
            "Perplexity and divergence only, as asked for: neither shows which capability was lost "
            f"(R100). Not shown: {', '.join(REQUIRED)}, speed and memory."
        ]
    notices = []
    for row in variants:
        seen = {entry.category for entry in row.comparison.categories}
        seen |= {"bias"} if row.comparison.bias else set()
        missing = [category for category in REQUIRED if category not in seen]
        if missing:
            notices.append(f"{row.name} was not examined in: {', '.join(missing)}.")
    return notices
