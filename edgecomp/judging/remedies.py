"""What to do about a loss, in the order to try it (R50, R51, R97, R103).

Matching calibration comes first, since it costs no size; then less compression, then mixed
precision, then another method. Recalibration is promised half of the lost points at most, which is
UniComp's best case (R112).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.comparison import ScoreComparison
from edgecomp.evaluate.items import RELIABILITY, Category, bucket
from edgecomp.judging.findings import Evidence
from edgecomp.recipes.calibration_mix import TASK_SOURCES, CalibrationMix

Kind = Literal["recalibrate", "compress less", "mixed precision", "other method", "evaluate more"]

RECOVERABLE_SHARE = 0.5
MIXED_PRECISION_POINTS = 10.0
KNOWLEDGE_MAY_MOVE_POINTS = 2.0
DENSER_PERCENT = 10.0
RUINED_SPARSITY_PERCENT = 30.0
HIGHEST_COMPRESSED_BITS = 6.0

IMPROVE = "edgecomp improve BUNDLE"
"""Carries out what a recipe can, as new runs."""

OTHER_METHODS = {
    "quantization": "At the same size, use AWQ or GPTQ, which shape the rounding by the "
    "calibration, and tune scales and norms to the float model (--effort best).",
    "pruning": "Quantize instead of pruning: at the same size it keeps more.",
    "distillation": "Quantize the original instead of distilling it.",
}


class Remedy(FrozenModel):
    """One step, and the command that takes it."""

    kind: Kind
    text: str
    command: str | None = None


class Recovery(FrozenModel):
    """What a second attempt regained of what the first had lost."""

    lost_points: float
    regained_points: float
    share_of_lost_points_percent: float | None
    """Regained / lost x 100; None where nothing was lost."""

    relative_gain_percent: float | None
    """(after - before) / before x 100; None where the first attempt scored 0."""


def recovery(base_percent: float, before_percent: float, after_percent: float) -> Recovery:
    """How much of a loss came back: base, first compressed and second compressed score (R52)."""
    lost, regained = base_percent - before_percent, after_percent - before_percent
    return Recovery(
        lost_points=lost,
        regained_points=regained,
        share_of_lost_points_percent=100 * regained / lost if lost > 0 else None,
        relative_gain_percent=100 * regained / before_percent if before_percent else None,
    )


def loss_remedies(evidence: Evidence, weak: set[Category]) -> tuple[Remedy, ...]:
    """The steps against garbage, or against losses in the `weak` categories, best first."""
    if evidence.coherence and not evidence.coherence.coherent:
        return (_compress_less(evidence, ruined=True),)
    if not weak:
        return ()
    steps = [_recalibrate(evidence, weak), _compress_less(evidence, ruined=False)]
    reasoning = evidence.comparison.category("reasoning")
    quantized = evidence.method == "quantization"
    if quantized and reasoning and reasoning.drop_points > MIXED_PRECISION_POINTS:
        text = (
            f"Reasoning fell by {reasoning.drop_points:.1f} points: keep attention at 8 bits and "
            "the feed-forward weights at 4 (R71)."
        )
        steps.append(Remedy(kind="mixed precision", text=text, command=IMPROVE))
    steps.append(Remedy(kind="other method", text=OTHER_METHODS[evidence.method]))
    return tuple(steps)


def evaluation_remedies(
    missing: Sequence[str], unresolved: Sequence[ScoreComparison], blind: Sequence[str]
) -> tuple[Remedy, ...]:
    """What to examine before a verdict can be given."""
    steps = []
    if unresolved:
        wanted = ", ".join(f"{row.category} ({_items_wanted(row)})" for row in unresolved)
        steps.append(f"Ask more items of {wanted}.")
    if missing:
        steps.append(f"Examine what is missing: {', '.join(missing)}.")
    if blind:
        steps.append(f"Ask easier benchmarks of {', '.join(blind)}, which the base can answer.")
    command = "edgecomp evaluate BUNDLE --base FILE --data DIR"
    return tuple(Remedy(kind="evaluate more", text=text, command=command) for text in steps)


def _items_wanted(row: ScoreComparison) -> str:
    if row.decision and row.set_items:
        return f"{row.items} of {row.set_items} were asked: give a larger --budget"
    return f"about {row.items_to_resolve} items instead of {row.items}"


def matching_samples(mix: CalibrationMix, category: Category) -> int:
    """Samples of a calibration mix that match a category."""
    return sum(mix.samples.get(name, 0) for name in TASK_SOURCES[bucket(category)])


def _recalibrate(evidence: Evidence, weak: set[Category]) -> Remedy:
    kept = f", knowledge stay within {KNOWLEDGE_MAY_MOVE_POINTS:.0f} points"
    parts = (
        _diagnosis(evidence.calibration, weak),
        _new_mix(weak) + _at_same_sparsity(evidence.sparsity_percent) + ".",
        _hope(evidence, weak),
        f"Evaluate again: {_listed(weak)} should rise{'' if 'knowledge' in weak else kept}.",
    )
    text = " ".join(part for part in parts if part)
    return Remedy(kind="recalibrate", text=text, command=_improves(evidence))


def _listed(weak: set[Category]) -> str:
    return ", ".join(sorted(weak))


def _diagnosis(calibration: CalibrationMix | None, weak: set[Category]) -> str:
    if calibration is None:
        return ""
    if not any(matching_samples(calibration, category) for category in weak):
        return f"The calibration is generic for {_listed(weak)}: it held no sample of them."
    # The new mix says so itself of the others.
    own_samples = weak & {"reasoning", *RELIABILITY}
    return f"Take 2-3 x as many samples of {_listed(own_samples)} as before." if own_samples else ""


def _new_mix(weak: set[Category]) -> str:
    safety = "safety-oriented samples (refusals, honest answers, harmless twins)"
    parts = []
    if "reasoning" in weak:
        parts.append("the mix 256 math + 128 general reasoning + 128 general text")
    if weak & set(RELIABILITY):
        parts.append(safety)
    others = weak - set(RELIABILITY) - {"reasoning"}
    if others:
        parts.append(f"2-3 x the samples of {_listed(others)}")
    return f"Recalibrate with {' and '.join(parts)}"


def _at_same_sparsity(sparsity_percent: float | None) -> str:
    return f" at the same {sparsity_percent:.0f} % sparsity" if sparsity_percent else ""


def _hope(evidence: Evidence, weak: set[Category]) -> str:
    """What recalibration may give back, for the worst category."""
    rows = [row for row in evidence.comparison.categories if row.category in weak]
    if not rows:
        return ""
    worst = max(rows, key=lambda row: row.drop_points)
    return (
        f"Of the {worst.drop_points:.1f} points lost in {worst.category}, up to "
        f"{RECOVERABLE_SHARE * worst.drop_points:.1f} may come back (an upper bound)."
    )


def _compress_less(evidence: Evidence, *, ruined: bool) -> Remedy:
    if evidence.method == "pruning":
        sparsity = evidence.sparsity_percent or 50.0
        lower = RUINED_SPARSITY_PERCENT if ruined else sparsity - DENSER_PERCENT
        text = f"Prune to {lower:.0f} % instead of {sparsity:.0f} %, with the same calibration."
    elif evidence.bits is not None and evidence.bits > HIGHEST_COMPRESSED_BITS:
        text = "Keep 16 bits: 8 already lose too much."
    else:
        text = "Quantize to 8 bits instead of 4."
    return Remedy(kind="compress less", text=text, command=_improves(evidence))


def _improves(evidence: Evidence) -> str | None:
    """The command for what a recipe can carry out; pruning has none."""
    return IMPROVE if evidence.method == "quantization" else None
