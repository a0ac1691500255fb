"""From evidence to a verdict one can sign: a pure function.

A shown loss stops an artifact whatever else is missing; a positive verdict needs evidence on every
required category and on efficiency, and accuracy alone never gives one (R15, R43, R72, R73).
"""

from __future__ import annotations

from typing import Literal

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.tasks import Task
from edgecomp.evaluate.comparison import ScoreComparison
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.items import CAPABILITIES, RELIABILITY, Category, bucket
from edgecomp.judging.findings import (
    Efficiency,
    Evidence,
    Finding,
    KnowledgeBias,
    Status,
    find_all,
    knowledge_bias,
)
from edgecomp.judging.remedies import Remedy, evaluation_remedies, loss_remedies, matching_samples

__all__ = ["Efficiency", "Evidence", "Finding", "Verdict", "judge", "knowledge_bias"]

Level = Literal["ship", "ship with accepted losses", "recalibrate", "do not ship", "incomplete"]

REQUIRED: tuple[Category, ...] = (
    "knowledge", "reasoning", "multilingual", "instruction", "code", "truthfulness", "bias",
    "refusal",
)  # fmt: skip
"""Without these a verdict cannot be positive (R15, R44, R45)."""

NEAR_IDENTICAL_NATS = 0.02
"""Divergence below which an artifact repeats its base (Q8_0 and Q6_K of common models lie below,
4 bits above). What a few items cannot resolve is then no reason against shipping."""

OWN_CODE = "own-code"
"""Our own questions on code, which run nothing."""

LOSSES: tuple[Status, ...] = ("small loss", "lost", "not resolved")


class Verdict(FrozenModel):
    """The judgement of one artifact against its base."""

    schema_version: Literal[1] = 1
    level: Level
    summary: str
    knowledge_bias: KnowledgeBias
    findings: tuple[Finding, ...]
    accepted_losses: tuple[str, ...]
    missing: tuple[str, ...]
    remedies: tuple[Remedy, ...]


def judge(evidence: Evidence) -> Verdict:
    """The verdict on `evidence`."""
    findings = find_all(evidence)
    bias = knowledge_bias(evidence.comparison)
    missing = _missing(evidence)
    unresolved = _unresolved(evidence, findings)
    level = _level(evidence, findings, missing, bias)
    accepted = tuple(row.text for row in findings if row.status in LOSSES)
    weak = {row.category for row in findings if row.status == "lost" and row.category}
    if bias == "flagged":
        weak.add("reasoning")
    steps = loss_remedies(evidence, weak)
    if level == "incomplete":
        blind = _blind(evidence, findings)
        steps = (*steps, *evaluation_remedies(missing, unresolved, blind))
    return Verdict(
        level=level,
        summary=_summary(level, evidence, findings, missing),
        knowledge_bias=bias,
        findings=findings,
        accepted_losses=accepted if level == "ship with accepted losses" else (),
        missing=missing,
        remedies=steps,
    )


def _missing(evidence: Evidence) -> tuple[str, ...]:
    seen = {row.category for row in evidence.comparison.categories}
    if evidence.comparison.bias:
        seen.add("bias")
    absent = [str(category) for category in REQUIRED if category not in seen]
    return (*absent, *(() if evidence.efficiency else ("efficiency",)))


def matters(category: Category | None, task: Task) -> bool:
    """Whether a loss there decides: safety always, else the capability the user named first."""
    if category is None or category in RELIABILITY or task == "general":
        return True
    return bucket(category) == task


def _unresolved(evidence: Evidence, findings: tuple[Finding, ...]) -> list[ScoreComparison]:
    """Categories that matter and leave the verdict open: required ones that are not decided; where
    nothing was to be decided, those whose drop is over the tolerance but inside its noise."""
    open_ones = {row.category for row in findings if row.status == "not resolved"}
    return [
        row
        for row in evidence.comparison.categories
        if row.category in open_ones
        and matters(row.category, evidence.task)
        and (row.category in REQUIRED if row.decision else row.drop_points > row.tolerance_points)
    ]


def _blind(evidence: Evidence, findings: tuple[Finding, ...]) -> list[str]:
    """The capabilities that matter, where the base is at chance in every one of them: nothing that
    was asked could have shown a loss."""
    statuses = {
        str(row.category): row.status
        for row in findings
        if row.category in CAPABILITIES
        and row.status != "note"
        and matters(row.category, evidence.task)
    }
    if all(status == "at chance" for status in statuses.values()):
        return sorted(statuses)
    return []


def _level(
    evidence: Evidence, findings: tuple[Finding, ...], missing: tuple[str, ...], bias: KnowledgeBias
) -> Level:
    """A shown loss stops whatever else is missing; a positive verdict needs all the evidence."""
    if _is_ruined(evidence):
        return "do not ship"
    decisive = [
        row for row in findings if row.status == "lost" and matters(row.category, evidence.task)
    ]
    if decisive:
        safe = all(row.category not in RELIABILITY for row in decisive)
        return "recalibrate" if safe and _mismatched(evidence, decisive) else "do not ship"
    repeats = repeats_base(evidence.divergence)
    open_ones = [row for row in _unresolved(evidence, findings) if not (repeats and row.decision)]
    if missing or open_ones or (_blind(evidence, findings) and not repeats):
        return "incomplete"
    open_statuses = {"not resolved"} if repeats else set()
    harmless = {"kept", "at chance", "note", *open_statuses}
    clean = bias != "flagged" and all(row.status in harmless for row in findings)
    return "ship" if clean else "ship with accepted losses"


def _is_ruined(evidence: Evidence) -> bool:
    incoherent = evidence.coherence is not None and not evidence.coherence.coherent
    return incoherent or (evidence.divergence is not None and evidence.divergence.ruined)


def repeats_base(divergence: DivergenceSummary | None) -> bool:
    """Whether the divergence, its noise included, says that the artifact repeats its base."""
    if divergence is None or divergence.kl_mean_interval is None:
        return False
    return divergence.kl_mean_interval.high < NEAR_IDENTICAL_NATS


def _mismatched(evidence: Evidence, lost: list[Finding]) -> bool:
    """Whether the calibration held nothing of what was lost (R97)."""
    if evidence.calibration is None:
        return False
    return any(
        row.category is not None and not matching_samples(evidence.calibration, row.category)
        for row in lost
    )


def _summary(
    level: Level, evidence: Evidence, findings: tuple[Finding, ...], missing: tuple[str, ...]
) -> str:
    lost = sorted({str(row.category) for row in findings if row.status == "lost" and row.category})
    if _is_ruined(evidence):
        return "The artifact does not write coherent text."
    if level in ("do not ship", "recalibrate"):
        unsafe = [name for name in lost if name in RELIABILITY]
        words = f"Lost beyond tolerance and noise: {', '.join(lost)}."
        return words + (" It is not safe to ship." if unsafe else "")
    if level == "incomplete":
        unresolved = [str(row.category) for row in _unresolved(evidence, findings)]
        parts = []
        if missing:
            parts.append(f"Not examined: {', '.join(missing)}.")
        if unresolved:
            parts.append(f"Not decided by what was asked: {', '.join(unresolved)}.")
        blind = _blind(evidence, findings)
        if blind:
            parts.append(
                f"The base itself is at chance in {', '.join(blind)}: no loss could have shown."
            )
        return " ".join(parts)
    return f"{_positive(level, evidence, findings)} {_unexamined(evidence)}".strip()


def _positive(level: Level, evidence: Evidence, findings: tuple[Finding, ...]) -> str:
    losses = {str(row.category) for row in findings if row.status in LOSSES and row.category}
    listed = ", ".join(sorted(losses))
    if level == "ship with accepted losses":
        accepted = f" Accepted or not resolved: {listed}." if losses else ""
        return f"Nothing that decides for the task {evidence.task} is lost.{accepted}"
    if losses and evidence.divergence:
        return (
            f"It repeats its base (KL divergence {evidence.divergence.kl_mean:.4f} nats a token) "
            f"and no loss is shown; not resolved at this sample size: {listed}."
        )
    return f"Every examined category is kept within {_tolerated(evidence)} points."


def _unexamined(evidence: Evidence) -> str:
    """What a signed verdict says nothing of."""
    seen = {row.category for row in evidence.comparison.categories}
    seen |= {"bias"} if evidence.comparison.bias else set()
    absent = [name for name in (*CAPABILITIES, *RELIABILITY) if name not in seen]
    parts = [f"Not examined: {', '.join(absent)}."] if absent else []
    code = [row.name for row in evidence.comparison.benchmarks if row.category == "code"]
    if code == [OWN_CODE]:
        parts.append("Code was judged by the choice among solutions: none was run.")
    return " ".join(parts)


def _tolerated(evidence: Evidence) -> str:
    """The tolerances of what was examined: "5", or "3 to 5"."""
    points = sorted({row.tolerance_points for row in evidence.comparison.categories})
    return f"{points[0]:g}" if len(points) == 1 else f"{points[0]:g} to {points[-1]:g}"
