"""Reports and verifications as tables for a terminal; nothing here prints."""

from __future__ import annotations

from collections import Counter

from rich.console import Group, RenderableType
from rich.text import Text

from edgecomp.bundles.bundle import Verification
from edgecomp.common.quantity import format_size
from edgecomp.jobs.fit import Fitted
from edgecomp.making.compress_job import Compressed
from edgecomp.measure.latency import Prediction
from edgecomp.reporting.report import Report
from edgecomp.reporting.sections import (
    Section,
    capability_divergence_sections,
    capability_section,
    distillation_section,
    mixture_section,
    projector_text,
    tuning_section,
)
from edgecomp.terminal.fitting_table import FittingTable
from edgecomp.terminal.tables import facts

STARTERS = {"onnx": "chat.py", "transformers": "vllm.sh"}
"""What starts a bundle, by its runtime; `serve.sh` starts every other."""


def section_table(section: Section) -> RenderableType:
    """One section of a report."""
    columns = [name.strip() for name in section.columns]
    table = FittingTable(columns, section.numeric, section.rows)
    parts: list[RenderableType] = [Text(section.title, style="bold")]
    if section.text:
        parts.append(Text(section.text))
    return Group(*parts, table, "") if section.columns else Group(*parts, "")


def _prediction(report: Report, beginning: str) -> Prediction:
    """The prediction of the quantity that begins so."""
    return next(row for row in report.predictions if row.quantity.startswith(beginning))


def _against_16_bits(ratio: float) -> str:
    return f"{ratio:.2f} x smaller than 16 bits" if ratio >= 1.05 else "no smaller than 16 bits"


def summary(fitted: Fitted) -> RenderableType:
    """A run on one screen: what came out, what it lost, how fast it is, and the verdict."""
    report = fitted.report
    divergence, measured = report.divergence, report.measurement
    memory = _prediction(report, "peak memory")
    speed = _prediction(report, "decode at")
    row = measured.at(report.chosen.speed.prompt_tokens)
    decode, prefill = row.decode_tokens_per_second, row.prefill_tokens_per_second
    size = report.artifact.size_bytes
    rows = [
        ("artifact", f"{report.chosen.format}, {format_size(size)}, "
         + _against_16_bits(2 * report.model.parameters / size)),
        ("memory", f"{format_size(measured.peak_memory_bytes)} at the peak, "
         f"{format_size(memory.predicted)} predicted"),
        ("decode", f"{decode.median:.1f} tok/s at depth {row.depth} (p5 to p95 {decode.p5:.1f} to "
         f"{decode.p95:.1f}, n={decode.count}), "
         f"{speed.predicted:.1f} predicted"),
        ("prefill", f"{prefill.median:.0f} tok/s, first token after "
         f"{row.first_token_seconds.median:.3f} s"),
        ("divergence", f"{divergence.kl_mean:.4f} nats from the base "
         f"({divergence.agreement_percent:.1f} % same first choice, "
         f"{divergence.tokens:,} tokens)"),
        ("checks", f"{len(report.artifact.checks)} passed: "
         + ", ".join(dict.fromkeys(check.name for check in report.artifact.checks))),
    ]  # fmt: skip
    projector = report.artifact.projector
    if projector:
        rows.insert(1, ("projector", projector_text(projector)))
    starter = STARTERS.get(report.recipe.runtime, "serve.sh")
    capabilities = section_table(capability_section(report.comparison))
    return Group(
        Text(f"{report.model.name} on {report.device_title}", style="bold"),
        facts(rows),
        "",
        capabilities,
        *map(section_table, capability_divergence_sections({"": report.divergence_by_capability})),
        Text(f"Verdict: {report.verdict.level}", style="bold"),
        Text(report.verdict.summary),
        *(Text(f"Next: {remedy.text}") for remedy in report.verdict.remedies[:1]),
        Text(f"Bundle: {fitted.folder} (report.html, manifest.json, {starter})"),
    )


def verification(found: Verification) -> RenderableType:
    """What verifying a bundle found."""
    if found.faults:
        return Group(*(Text(f"{found.folder}: {fault}") for fault in found.faults))
    return Text(
        f"{found.folder}: {found.files} files, {format_size(found.size_bytes)}, all as the "
        "manifest lists them; the artifact loads and writes."
    )


def compressed_table(made: Compressed) -> RenderableType:
    """What a compression made, and that it passed its checks."""
    counted = Counter(made.types.values()).most_common()
    rows = [
        ("file", f"{made.folder / made.file}, {format_size(made.size_bytes)}"),
        *(
            [("projector", f"{made.folder / made.projector}, {format_size(made.projector_bytes)}")]
            if made.projector
            else []
        ),
        ("types", ", ".join(f"{count} x {kind}" for kind, count in counted)),
        *((check.name, check.detail) for check in made.checks),
        *(("note", text) for text in made.notes),
    ]
    sections = [distillation_section(row) for row in made.distillations]
    if made.mixture:
        sections.append(mixture_section(made.mixture))
    if made.tuning:
        sections.append(tuning_section(made.tuning))
    return Group(facts(rows), *(section_table(row) for row in sections))
