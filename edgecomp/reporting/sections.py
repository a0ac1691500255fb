"""A report as titled tables, whatever they are printed as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import get_args

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.quantity import format_duration, format_size
from edgecomp.evaluate.comparison import Comparison, ScoreComparison
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.items import Bucket
from edgecomp.evaluate.statistics import Interval, Spread
from edgecomp.making.artifact import Artifact, ProjectorFile
from edgecomp.making.mixed_precision import BitAllocation
from edgecomp.measure.latency import Measurement, Prediction
from edgecomp.recipes.distillation import History
from edgecomp.recipes.tuning import Tuned
from edgecomp.reporting.report import Report


class Section(FrozenModel):
    """A titled table with a sentence before it; every cell is text."""

    title: str
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold figures: all but the first, those named in words, and mixed ones."""
        if self.columns[:1] == ("what",):
            return (False,) * len(self.columns)
        worded = {
            "verdict", "detail", "basis", "evidence", "finding", "variant", "category", "format",
            "front",
        }  # fmt: skip
        return tuple(
            index > 0 and column not in worded for index, column in enumerate(self.columns)
        )


def sections(report: Report) -> tuple[Section, ...]:
    """The report's content, in reading order."""
    return (
        _artifact_section(report),
        _verdict_section(report),
        *(distillation_section(row) for row in report.artifact.distillations),
        *([mixture_section(report.artifact.mixture)] if report.artifact.mixture else []),
        *([tuning_section(report.artifact.tuning)] if report.artifact.tuning else []),
        _divergence_section(report.divergence),
        *capability_divergence_sections({"": report.divergence_by_capability}),
        capability_section(report.comparison),
        _speed_section(report.measurement),
        _memory_section(report.measurement),
        _prediction_section(report.predictions),
        _checks_section(report.artifact),
        _provenance_section(report),
    )


def _artifact_section(report: Report) -> Section:
    chosen = report.chosen
    size = report.artifact.size_bytes
    half = 2 * report.model.parameters
    projector = report.artifact.projector
    rows = (
        ("format", chosen.format),
        ("size", f"{format_size(size)} ({size:,} bytes)"),
        ("bits per weight", f"{chosen.bits_per_weight:.2f}"),
        ("against 16 bits", f"{half / size:.2f} x smaller"),
        ("context", str(chosen.context)),
        ("device", report.device_title),
        ("SHA-256", report.artifact.file.sha256),
        *([("projector", projector_text(projector))] if projector else ()),
    )
    return Section(
        title=f"{report.model.name} as {chosen.format}",
        text=" ".join(report.notices),
        columns=("what", "value"),
        rows=rows,
    )


def projector_text(projector: ProjectorFile) -> str:
    """The size of what reads pictures or sounds, and what it takes beside."""
    size = format_size(projector.size_bytes)
    if projector.compute_bytes is None:
        return f"{size} in a file of its own (mmproj), not loaded here"
    return (
        f"{size} in a file of its own (mmproj), and {format_size(projector.compute_bytes)} while "
        "it reads, beside the measured memory"
    )


def distillation_section(history: History) -> Section:
    """How the student came closer to its teacher."""
    first, best = history.points[0], min(history.points, key=lambda point: point.divergence)
    early = " It stopped early: the divergence no longer fell." if history.stopped_early else ""
    return Section(
        title="Distillation",
        text=(
            f"Held-out divergence from the teacher fell from {first.divergence:.3f} to "
            f"{best.divergence:.3f} nats a token, in {best.step} of {history.steps} steps.{early}"
        ),
        columns=("step", "held-out divergence"),
        rows=tuple((str(point.step), f"{point.divergence:.4f}") for point in history.points),
    )


def tuning_section(tuned: Tuned) -> Section:
    """What fitting scales and norms brought once codes were chosen."""
    return Section(
        title="Tuning",
        text=tuned.sentence,
        columns=("step", "held-out divergence"),
        rows=tuple((str(point.step), f"{point.divergence:.4f}") for point in tuned.points),
    )


def mixture_section(mixture: BitAllocation) -> Section:
    """The types that a mix chose, by the role of the tensors, and what they are expected to cost;
    every tensor by itself is in report.json."""
    mixed, found = mixture.types, mixture.sensitivities
    weighed = [tensor for tensor in found.tensors if tensor.name in mixed] if found else []
    losses = {tensor.name: tensor.losses[mixed[tensor.name]] for tensor in weighed}
    worst = {tensor.name: max(tensor.losses.values()) for tensor in weighed}
    roles: dict[str, list[str]] = {}
    for name in mixed:
        roles.setdefault(name.split(".")[-2], []).append(name)
    total = sum(losses.values())
    return Section(
        title="Types, tensor by tensor",
        text=(
            f"Expected loss {total:.4g} in all, where the fewest bits everywhere would give "
            f"{sum(worst.values()):.4g}: the least within the limits, or weighed against speed in "
            "the format's own size. Loss is the divergence that rounding to nearest would cause, "
            "in nats a token, summed over tensors."
            if found
            else "Set by a fixed rule."
        ),
        columns=("tensors", "format", "expected loss", "at the fewest bits"),
        rows=tuple(
            (
                role,
                ", ".join(
                    f"{count} x {kind}" for kind, count in Counter(mixed[n] for n in names).items()
                ),
                f"{sum(losses[n] for n in names):.4g}" if found else "",
                f"{sum(worst[n] for n in names):.4g}" if found else "",
            )
            for role, names in roles.items()
        ),
    )


def _verdict_section(report: Report) -> Section:
    verdict = report.verdict
    rows = tuple((finding.rule, finding.text) for finding in verdict.findings)
    remedies = " ".join(
        f"Next: {remedy.text}" + (f" `{remedy.command}`" if remedy.command else "")
        for remedy in verdict.remedies[:1]
    )
    return Section(
        title=f"Verdict: {verdict.level}",
        text=f"{verdict.summary} {remedies}".strip(),
        columns=("rule", "finding") if rows else (),
        rows=rows,
    )


def _interval(interval: Interval | None, digits: str = ".4f") -> str:
    return f"{interval.low:{digits}} to {interval.high:{digits}}" if interval else "one window"


def _divergence_section(row: DivergenceSummary) -> Section:
    ratio = f"{row.perplexity_ratio:.4f}"
    return Section(
        title="Divergence from the base",
        text=f"{row.tokens:,} tokens in {row.windows} windows; intervals hold 95 %.",
        columns=("figure", "value", "95 % interval"),
        rows=(
            ("KL divergence, mean (nats)", f"{row.kl_mean:.4f}", _interval(row.kl_mean_interval)),
            ("KL divergence, median (nats)", f"{row.kl_median:.4f}", ""),
            ("KL divergence, 99th percentile (nats)", f"{row.kl_p99:.4f}", ""),
            ("KL divergence, largest (nats)", f"{row.kl_max:.4f}", ""),
            (
                "same first choice (%)",
                f"{row.agreement_percent:.2f}",
                _interval(row.agreement_interval, ".2f"),
            ),
            ("perplexity of the base", f"{row.base_perplexity:.3f}", ""),
            ("perplexity of the artifact", f"{row.artifact_perplexity:.3f}", ""),
            ("perplexity, artifact / base", ratio, _interval(row.perplexity_ratio_interval)),
        ),
    )


def capability_divergence_sections(
    variants: Mapping[str, Mapping[Bucket, DivergenceSummary]],
) -> list[Section]:
    """Divergence on each capability's own text, of one variant (named "") or of several; nothing
    where it was not measured."""
    several = "" not in variants
    rows = [
        (name, *([variant] if several else []), str(row.tokens), f"{row.kl_mean:.4f}",
         _interval(row.kl_mean_interval), f"{row.agreement_percent:.1f}",
         _interval(row.agreement_interval, ".1f"))
        for name in get_args(Bucket)
        for variant, found in variants.items()
        if (row := found.get(name))
    ]  # fmt: skip
    columns = ("tokens", "KL mean (nats)", "95 % interval", "same first choice %", "its interval")
    section = Section(
        title="Divergence on each capability's own text",
        text="Over its questions with their right answers: where predictions moved most.",
        columns=("capability", *(["variant"] if several else []), *columns),
        rows=tuple(rows),
    )
    return [section] if rows else []


def capability_section(comparison: Comparison) -> Section:
    return Section(
        title="Capabilities, base against artifact",
        text="A drop is in percentage points (base - artifact); retention is artifact / base.",
        columns=(
            "capability", "items", "base %", "artifact %", "drop points", "95 % interval",
            "retention %", "decided",
        ),
        rows=tuple(_score_row(row) for row in comparison.categories),
    )  # fmt: skip


def _score_row(row: ScoreComparison) -> tuple[str, ...]:
    decided = "yes" if row.resolved else f"not at n={row.items}"
    if row.base_above_chance is False and row.decision != "lost":
        decided = "base at chance"
    elif row.decision:
        decided = row.decision
    return (
        row.name,
        str(row.items or ""),
        f"{row.base_percent:.1f}",
        f"{row.artifact_percent:.1f}",
        f"{row.drop_points:+.1f}",
        _interval(row.drop_interval, "+.1f") if row.drop_interval else "",
        f"{row.retention_percent:.1f}" if row.retention_percent is not None else "-",
        decided,
    )


def _spread(value: Spread, digits: str = ".1f") -> tuple[str, str]:
    return (
        f"{value.median:{digits}}",
        f"{value.p5:{digits}} to {value.p95:{digits}}",
    )


def _speed_section(measurement: Measurement) -> Section:
    machine = measurement.machine
    load = f"{machine.load_before:.2f}" if machine.load_before is not None else "unknown"
    repeats = measurement.depths[0].prefill_tokens_per_second.count
    return Section(
        title="Speed in the runtime",
        text=(
            f"{machine.processor}, {measurement.settings.threads} threads, governor "
            f"{machine.governor or 'not readable'}, load before {load}; medians of {repeats} "
            f"repeats after a warm-up, with the 5th to 95th percentile. "
            f"Loading took {format_duration(measurement.load_seconds)}."
        ),
        columns=(
            "depth", "decode tok/s", "p5 to p95", "prefill tok/s", "p5 to p95 ",
            "first token s", "p5 to p95  ",
        ),
        rows=tuple(
            (
                str(row.depth),
                *_spread(row.decode_tokens_per_second),
                *_spread(row.prefill_tokens_per_second),
                *_spread(row.first_token_seconds, ".3f"),
            )
            for row in measurement.depths
        ),
    )  # fmt: skip


def _memory_section(measurement: Measurement) -> Section:
    rows = [
        ("peak (high-water mark)", format_size(measurement.peak_memory_bytes)),
        ("anonymous at the peak", format_size(measurement.peak_anonymous_bytes)),
        ("file-backed at the peak", format_size(measurement.peak_file_backed_bytes)),
        ("the process before loading", format_size(measurement.started_memory_bytes)),
    ]
    rows += [
        (f"{name} buffer", format_size(size)) for name, size in measurement.buffer_bytes.items()
    ]
    return Section(title="Memory of the process", columns=("what", "size"), rows=tuple(rows))


def _prediction_section(predictions: tuple[Prediction, ...]) -> Section:
    def shown(row: Prediction, value: float) -> str:
        return format_size(value) if row.unit == "bytes" else f"{value:.4g} {row.unit}"

    return Section(
        title="Predicted against measured",
        columns=("quantity", "predicted", "measured", "error %", "basis"),
        rows=tuple(
            (
                row.quantity,
                shown(row, row.predicted),
                shown(row, row.measured),
                f"{row.error_percent:+.1f}",
                row.basis,
            )
            for row in predictions
        ),
    )


def _checks_section(artifact: Artifact) -> Section:
    return Section(
        title="Checks of the artifact",
        columns=("check", "verdict", "detail"),
        rows=tuple(
            (check.name, "passed" if check.passed else "FAILED", check.detail)
            for check in (
                *artifact.checks,
                *(artifact.projector.checks if artifact.projector else ()),
            )
        ),
    )


def _provenance_section(report: Report) -> Section:
    rows = [
        ("source", report.model.source),
        ("source SHA-256", report.model.source_sha256),
        ("source bits per weight", f"{report.model.source_bits_per_weight:.2f}"),
        ("licence", report.model.licence or "not stated"),
        ("rounding", report.recipe.rounding),
        ("importance matrix", "importance.gguf" if report.artifact.importance else "not needed"),
    ]
    calibration = report.artifact.calibration
    if calibration:
        mixed = ", ".join(
            f"{name} {count} ({calibration.origins.get(name, 'unused')})"
            for name, count in calibration.mix.samples.items()
        )
        rows += [
            ("calibration", f"{mixed}; {calibration.rows} rows of {calibration.mix.row_tokens}"),
            ("calibration SHA-256", calibration.tokens_sha256),
        ]
    rows += list(report.versions.items())
    return Section(title="Where it comes from", columns=("what", "value"), rows=tuple(rows))
