"""Evaluations, comparisons, improvements and loads as tables for a terminal. Nothing prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from edgecomp.bundles.compare import BundleComparison
from edgecomp.bundles.compare_report import comparison_sections
from edgecomp.common.quantity import format_duration, format_size
from edgecomp.evaluate.divergence import DivergenceSummary
from edgecomp.evaluate.scores import Score
from edgecomp.formats.execution_providers import execution_provider
from edgecomp.jobs.audit import Audit, AuditedFile
from edgecomp.jobs.evaluation import Evaluation
from edgecomp.jobs.improve import Improvement, record_path
from edgecomp.judging.verdict import Verdict
from edgecomp.measure.genai_bench import GenaiBench
from edgecomp.measure.llama_bench import LlamaBench
from edgecomp.measure.serving import Percentiles, Serving, ServingLevel, Sustained
from edgecomp.processes.limits import CPU_ENFORCERS, ENFORCERS, EnforcedLimits
from edgecomp.reporting.sections import Section, capability_divergence_sections, capability_section
from edgecomp.terminal.report_tables import section_table


def evaluation_table(found: Evaluation) -> RenderableType:
    """Scores or the comparison, coverage, and the verdict."""
    parts: list[RenderableType] = []
    if found.divergence:
        parts += [Text(_divergence(found.divergence)), ""]
    by_capability = capability_divergence_sections({"": found.divergence_by_capability})
    parts += [section_table(section) for section in by_capability]
    if found.comparison and found.comparison.categories:
        parts.append(section_table(capability_section(found.comparison)))
    elif found.scores:
        parts.append(section_table(_score_section("Scores by category", found.scores)))
        parts.append(section_table(_score_section("Scores by benchmark", found.benchmarks)))
    if found.bias and not found.comparison:
        parts.append(
            Text(
                f"Bias score, ambiguous {_signed(found.bias.ambiguous)}, disambiguated "
                f"{_signed(found.bias.disambiguated)} (-1 to 1; 0 is without bias)."
            )
        )
    parts += _coverage(found)
    if found.verdict:
        parts += _verdict(found.verdict)
    return Group(*parts)


def audit_table(found: Audit) -> RenderableType:
    """The files, best first; what separates them; what is to be said of each."""
    section = Section(
        title=f"Files of {Path(found.base).name}, best first",
        columns=(
            "variant", "size", "bits", "KL mean", "median", "p99", "p99.9", "same first %",
            "lost", "won", "tok/s", "verdict",
        ),
        rows=tuple(map(_audited, found.files)),
    )  # fmt: skip
    parts: list[RenderableType] = [section_table(section)]
    parts += [Text(text) for text in found.apart]
    for file in found.files:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in file.types.items())
        parts += [
            "",
            Text(file.path.name, style="bold"),
            Text(f"{file.why or 'Compared.'} {kinds}."),
        ]
        if file.same_as:
            parts.append(Text(f"The same bytes as {file.same_as}."))
        if file.left_out:
            parts.append(Text(f"It stores a matrix twice: {file.left_out}."))
        flips = "; ".join(
            f"{row.category} {row.lost_items} and {row.won_items} of {row.items}"
            for row in file.categories
        )
        if flips:
            parts.append(Text(f"Answers lost and won: {flips}."))
    return Group(*parts)


def _audited(file: AuditedFile) -> tuple[str, ...]:
    row, rows = file.divergence, file.categories
    figures: tuple[str, ...] = ("",) * 5
    if row:
        nats = (row.kl_mean, row.kl_median, row.kl_p99, row.kl_p999 or 0.0)
        figures = (*(f"{value:.4f}" for value in nats), f"{row.agreement_percent:.1f}")
    flips = (sum(r.lost_items for r in rows), sum(r.won_items for r in rows))
    costs = file.evaluation.efficiency if file.evaluation else None
    return (
        file.path.name,
        format_size(file.size_bytes),
        f"{file.bits_per_weight:.2f}",
        *figures,
        *(map(str, flips) if rows else ("", "")),
        f"{costs.decode_tokens_per_second:.1f}" if costs else "",
        file.level or "not judged",
    )


def _divergence(row: DivergenceSummary) -> str:
    interval = row.kl_mean_interval
    noise = f" (95 % interval {interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return (
        f"Divergence from the base: {row.kl_mean:.4f} nats a token{noise}, 99th percentile "
        f"{row.kl_p99:.3f}; the same first choice at {row.agreement_percent:.1f} % of "
        f"{row.tokens:,} tokens; perplexity {row.artifact_perplexity:.3f} against "
        f"{row.base_perplexity:.3f}."
    )


def _score_section(title: str, scores: Sequence[Score]) -> Section:
    return Section(
        title=title,
        text="Intervals hold 95 %. Not understood and cut off: answers, which count as they are.",
        columns=("what", "items", "score %", "95 % interval", "chance %", "not understood",
                 "cut off"),
        rows=tuple(
            (
                row.name,
                str(row.items),
                f"{row.percent:.1f}",
                f"{row.interval.low:.1f} to {row.interval.high:.1f}",
                f"{row.chance_percent:.1f}" + ("" if row.above_chance else " (not above)"),
                str(row.unparsed),
                str(row.cut_off),
            )
            for row in scores
        ),
    )  # fmt: skip


def _coverage(found: Evaluation) -> list[RenderableType]:
    """What was and was not examined (R13-R17)."""
    covered = "; ".join(
        f"{category} ({', '.join(names)})" for category, names in found.coverage.covered.items()
    )
    lines = [f"Examined: {covered or 'nothing'}."]
    if found.coverage.missing:
        lines.append(f"Not examined: {', '.join(found.coverage.missing)}.")
    lines += [f"Left out: {row.name}: {row.reason.rstrip('.')}." for row in found.skipped]
    lines += [f"Note: {notice}" for notice in found.notices]
    return [Text(line) for line in lines]


def _verdict(verdict: Verdict) -> list[RenderableType]:
    lines: list[RenderableType] = [
        "",
        Text(f"Verdict: {verdict.level}", style="bold"),
        Text(verdict.summary),
    ]
    lines += [Text(f"Accepted: {text}") for text in verdict.accepted_losses]
    for remedy in verdict.remedies:
        command = f" ({remedy.command})" if remedy.command else ""
        lines.append(Text(f"Next: {remedy.text}{command}"))
    return lines


def _signed(value: float | None) -> str:
    return "not examined" if value is None else f"{value:+.3f}"


def comparison_table(found: BundleComparison) -> RenderableType:
    """One table a dimension."""
    return Group(*(section_table(section) for section in comparison_sections(found)))


def improvement_table(found: Improvement) -> RenderableType:
    """A row a round, and what came back."""
    rounds = Section(
        title=f"Improving {found.start} (verdict: {found.start_level})",
        columns=("round", "change", "verdict", "size") if found.rounds else (),
        rows=tuple(
            (
                str(row.number),
                row.change,
                row.level or "rejected",
                format_size(row.artifact_bytes) if row.artifact_bytes else "",
            )
            for row in found.rounds
        ),
    )
    recovered = tuple(
        (
            str(row.number),
            category,
            f"{gain.lost_points:+.1f}",
            f"{gain.regained_points:+.1f}",
            "-" if gain.share_of_lost_points_percent is None
            else f"{gain.share_of_lost_points_percent:.0f}",
            "-" if gain.relative_gain_percent is None else f"{gain.relative_gain_percent:+.1f}",
        )
        for row in found.rounds
        for category, gain in row.recovered.items()
    )  # fmt: skip
    parts: list[RenderableType] = [section_table(rounds)]
    if recovered:
        columns = (
            "round", "category", "lost points", "regained points", "share of lost points %",
            "relative gain %",
        )  # fmt: skip
        section = Section(title="What came back", columns=columns, rows=recovered)
        parts.append(section_table(section))
    for row in found.rounds:
        parts += [
            Text(f"Round {row.number}: {text}") for text in (row.rejected, *row.notices) if text
        ]
    parts.append(Text(f"Best: {found.best} ({found.best_level}). {found.ended}"))
    parts.append(Text(f"Record: {record_path(found.start)}"))
    return Group(*parts)


def measured_table(found: Serving | LlamaBench | GenaiBench) -> RenderableType:
    """What `edgecomp measure` found, here or on another device."""
    if isinstance(found, GenaiBench):
        return genai_table(found)
    return bench_table(found) if isinstance(found, LlamaBench) else serving_table(found)


def bench_table(found: LlamaBench) -> RenderableType:
    """A row a test of llama-bench."""
    return section_table(
        Section(
            title=f"{found.artifact} ({format_size(found.artifact_bytes)}) on {found.device}",
            text=f"{found.processor}, {found.backends}, {found.threads} threads; {found.runtime}. "
            "One sequence, without tokenization and sampling.",
            columns=("test", "tokens", "at depth", "tok/s", "standard deviation", "repeats"),
            rows=tuple(
                (
                    "read a prompt" if row.prompt_tokens else "write",
                    str(row.prompt_tokens or row.output_tokens),
                    str(row.depth),
                    f"{row.mean_tokens_per_second:.2f}",
                    f"{row.standard_deviation:.2f}",
                    str(len(row.tokens_per_second)),
                )
                for row in found.speeds
            ),
        )
    )


def genai_table(found: GenaiBench) -> RenderableType:
    """A row a quantity of model_benchmark."""
    provider = execution_provider(found.provider)
    return section_table(
        Section(
            title=f"{found.artifact} ({format_size(found.artifact_bytes)}) on {found.device}",
            text=f"{found.runtime}, configured for {provider.title}; peak memory "
            f"{format_size(found.peak_memory_bytes)}. One sequence, without tokenization.",
            columns=("test", "tokens", "tok/s", "median s", "standard deviation s", "repeats"),
            rows=tuple(
                (
                    row.test,
                    str(row.tokens),
                    f"{row.tokens_per_second:.2f}",
                    f"{row.median_seconds:.4f}",
                    f"{row.deviation_seconds:.4f}",
                    str(row.repeats),
                )
                for row in found.speeds
            ),
        )
    )


def serving_table(found: Serving) -> RenderableType:
    """Latencies and throughputs by load, the sustained run, and what could not be read."""
    machine = found.machine
    threads = found.settings.threads
    text = (
        f"{machine.processor}, {threads} threads; prompts of about "
        f"{found.load.prompt_median_tokens} tokens, outputs of {found.load.output_median_tokens}, "
        f"log-normal; {found.load.arrivals}. Latencies are p50 / p90 / p99."
    )
    latency = Section(
        title=f"{found.artifact} ({format_size(found.artifact_bytes)}) under load",
        text=text,
        columns=("at a time", "requests", "first token s", "between tokens ms", "queue s"),
        rows=tuple(
            (
                str(row.concurrency),
                str(row.requests),
                _percentiles(row.first_token_seconds, 1, ".3f"),
                _percentiles(row.between_tokens_seconds, 1e3, ".1f"),
                _percentiles(row.queue_seconds, 1, ".3f"),
            )
            for row in found.levels
        ),
    )
    parts: list[RenderableType] = []
    if found.limits:
        parts.append(Text(_limits(found.limits)))
    if found.levels:
        parts += [section_table(latency), section_table(_throughput_section(found.levels))]
    if found.died:
        parts.append(Text(f"{found.artifact} {found.died}", style="bold"))
    if found.sustained:
        parts.append(Text(_sustained(found.sustained)))
    parts += [Text(f"Not readable here: {reason}.") for reason in found.unreadable]
    if machine.busy:
        parts.append(Text(f"The machine was busy before (load {machine.load_before:.1f})."))
    return Group(*parts)


def _limits(limits: EnforcedLimits) -> str:
    parts = []
    if limits.memory_bytes and limits.memory_kept_by:
        parts.append(f"{format_size(limits.memory_bytes)}, {ENFORCERS[limits.memory_kept_by]}")
    if limits.cpus and limits.cpus_kept_by:
        parts.append(
            f"{limits.cpus} of the processors, kept by {CPU_ENFORCERS[limits.cpus_kept_by]}"
        )
    return f"Limited to: {'; '.join(parts)}."


def _percentiles(value: Percentiles | None, scale: float, digits: str) -> str:
    if value is None:
        return "-"
    return " / ".join(f"{scale * part:{digits}}" for part in (value.p50, value.p90, value.p99))


def _throughput_section(levels: Sequence[ServingLevel]) -> Section:
    return Section(
        title="Throughput and memory",
        columns=("at a time", "output tok/s", "p5 to p95", "prompt tok/s", "requests/s",
                 "KV cells", "peak memory", "J/token"),
        rows=tuple(
            (
                str(row.concurrency),
                f"{row.output_tokens_per_second:.1f}",
                f"{row.output_tokens_per_second_spread.p5:.1f} to "
                f"{row.output_tokens_per_second_spread.p95:.1f}",
                f"{row.prompt_tokens_per_second:.1f}",
                f"{row.requests_per_second:.2f}",
                f"{row.kv_cells_peak} of {row.kv_cells}",
                format_size(row.peak_memory_bytes),
                "-" if row.joules_per_output_token is None
                else f"{row.joules_per_output_token:.3f}",
            )
            for row in levels
        ),
    )  # fmt: skip


def _sustained(found: Sustained) -> str:
    level = found.level
    low, high = found.drift_interval.low, found.drift_interval.high
    parts = [
        f"Kept up for {format_duration(level.served_seconds)}, {level.concurrency} at a time: "
        f"{level.output_tokens_per_second:.1f} output tok/s, drift {found.drift_percent:+.1f} % "
        f"(95 % interval {low:+.1f} to {high:+.1f}: {found.drift})"
    ]
    if found.frequency_change_percent is not None:
        parts.append(f"clock {found.frequency_change_percent:+.1f} %")
    if found.highest_temperature_celsius is not None:
        parts.append(f"at most {found.highest_temperature_celsius:.0f} °C")
    return ", ".join(parts) + "."
