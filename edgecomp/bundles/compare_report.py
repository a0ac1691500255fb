"""A comparison as sections by dimension, for the terminal, and as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.bundles.compare import BundleComparison, Variant
from edgecomp.common.atomic import write_text
from edgecomp.common.quantity import format_size
from edgecomp.evaluate.items import CAPABILITIES, RELIABILITY, Category
from edgecomp.reporting.report_text import html_page
from edgecomp.reporting.sections import Section, capability_divergence_sections

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE_COLUMNS = (
    "category", "variant", "items", "base %", "artifact %", "drop points", "95 % interval",
    "retention %",
)  # fmt: skip


def comparison_sections(comparison: BundleComparison) -> tuple[Section, ...]:
    """The tables, in reading order: efficiency, performance, reliability, divergence, verdicts."""
    variants = comparison.variants
    title = Section(
        title=f"Comparison of {len(variants)} variants", text=" ".join(comparison.notices)
    )
    if comparison.only == "perplexity":
        return title, _divergence_section(variants)
    return (
        title,
        _efficiency_section(variants),
        _score_section("Performance", CAPABILITIES, variants),
        _score_section("Reliability", RELIABILITY, variants),
        *_bias_sections(variants),
        _divergence_section(variants),
        *capability_divergence_sections({v.name: v.divergence_by_capability for v in variants}),
        _verdict_section(variants),
    )


def _efficiency_section(variants: Sequence[Variant]) -> Section:
    return Section(
        title="Efficiency",
        text="Measured in the runtime: medians with their 5th to 95th percentile. On the front: "
        "none of the same base is as small, as fast and as close to the base.",
        columns=(
            "variant", "format", "size", "bits", "peak memory", "context", "depth", "decode tok/s",
            "p5 to p95", "prefill tok/s", "first token s", "front",
        ),
        rows=tuple(
            (
                row.name,
                row.format,
                format_size(row.artifact_bytes),
                f"{row.bits_per_weight:.2f}",
                format_size(row.peak_memory_bytes),
                str(row.context),
                str(row.depth),
                f"{row.decode_tokens_per_second.median:.1f}",
                f"{row.decode_tokens_per_second.p5:.1f} to {row.decode_tokens_per_second.p95:.1f}",
                f"{row.prefill_tokens_per_second.median:.1f}",
                f"{row.first_token_seconds.median:.3f}",
                "yes" if row.on_front else "no",
            )
            for row in variants
        ),
    )  # fmt: skip


def _score_section(
    title: str, categories: Sequence[Category], variants: Sequence[Variant]
) -> Section:
    rows = []
    for category in categories:
        for variant in variants:
            score = variant.comparison.category(category)
            if score is None:
                continue
            interval = score.drop_interval
            retention = score.retention_percent
            rows.append(
                (
                    category,
                    variant.name,
                    str(score.items or ""),
                    f"{score.base_percent:.1f}",
                    f"{score.artifact_percent:.1f}",
                    f"{score.drop_points:+.1f}",
                    f"{interval.low:+.1f} to {interval.high:+.1f}" if interval else "",
                    "-" if retention is None else f"{retention:.1f}",
                )
            )
    return Section(
        title=title,
        text="A drop is in percentage points (base - artifact); retention is artifact / base.",
        columns=SCORE_COLUMNS if rows else (),
        rows=tuple(rows),
    )


def _bias_sections(variants: Sequence[Variant]) -> tuple[Section, ...]:
    rows = []
    for variant in variants:
        bias = variant.comparison.bias
        if bias is None:
            continue
        for context, before, after in (
            ("ambiguous", bias.base.ambiguous, bias.artifact.ambiguous),
            ("disambiguated", bias.base.disambiguated, bias.artifact.disambiguated),
        ):
            if before is not None and after is not None:
                growth = abs(after) - abs(before)
                cells = (variant.name, context, f"{before:+.3f}", f"{after:+.3f}", f"{growth:+.3f}")
                rows.append(cells)
    if not rows:
        return ()
    return (
        Section(
            title="Bias scores",
            text="From -1 to 1, 0 being without bias; amplification is |artifact| - |base|.",
            columns=("variant", "context", "base", "artifact", "amplification"),
            rows=tuple(rows),
        ),
    )


def _divergence_section(variants: Sequence[Variant]) -> Section:
    rows = []
    for variant in variants:
        row = variant.divergence
        interval = row.kl_mean_interval
        rows.append(
            (
                variant.name,
                str(row.tokens),
                f"{row.kl_mean:.4f}",
                f"{interval.low:.4f} to {interval.high:.4f}" if interval else "",
                f"{row.kl_p99:.3f}",
                f"{row.agreement_percent:.1f}",
                f"{row.base_perplexity:.3f}",
                f"{row.artifact_perplexity:.3f}",
                f"{row.perplexity_ratio:.4f}",
            )
        )
    return Section(
        title="Divergence from the base",
        columns=(
            "variant", "tokens", "KL mean (nats)", "95 % interval", "KL p99", "same first choice %",
            "base perplexity", "perplexity", "ratio",
        ),
        rows=tuple(rows),
    )  # fmt: skip


def _verdict_section(variants: Sequence[Variant]) -> Section:
    return Section(
        title="Verdicts",
        columns=("variant", "verdict", "detail"),
        rows=tuple((row.name, row.level, row.summary) for row in variants),
    )


def write_comparison(comparison: BundleComparison, path: Path) -> None:
    """Write the comparison as an HTML page that loads nothing from anywhere."""
    write_text(path, html_comparison(comparison))


def html_comparison(comparison: BundleComparison) -> str:
    """The page, with its plots inside."""
    from edgecomp.reporting.svg_plot import svg_plot

    variants = comparison.variants
    plots = [("Size against divergence; ringed: on the Pareto front", _draw_size, 3.6)]
    if comparison.only is None:
        categories = _shared_categories(variants)
        plots += [
            ("Decode speed against divergence; ringed: on the Pareto front", _draw_speed, 3.6),
            ("Drop by category, with its 95 % interval", _draw_drops, 1 + 0.6 * len(categories)),
        ]
    drawn = [
        (title, svg_plot(lambda axes, draw=draw: draw(axes, variants), height))  # type: ignore[misc]
        for title, draw, height in plots
    ]
    return html_page(comparison_sections(comparison), drawn)


def _draw_size(axes: Axes, variants: Sequence[Variant]) -> None:
    sizes = [row.artifact_bytes / 1e6 for row in variants]
    _scatter(axes, variants, sizes)
    axes.set(xlabel="file size (MB)")


def _draw_speed(axes: Axes, variants: Sequence[Variant]) -> None:
    speeds = [row.decode_tokens_per_second.median for row in variants]
    _scatter(axes, variants, speeds)
    axes.set(xlabel="decode tok/s")


def _scatter(axes: Axes, variants: Sequence[Variant], places: Sequence[float]) -> None:
    for row, place in zip(variants, places, strict=True):
        height = row.divergence.kl_mean
        if not math.isfinite(height):
            continue
        interval = row.divergence.kl_mean_interval
        low, high = (interval.low, interval.high) if interval else (height, height)
        axes.errorbar(
            [place],
            [height],
            yerr=[[max(height - low, 0)], [max(high - height, 0)]],
            marker="o",
            markersize=9 if row.on_front else 5,
            markeredgecolor="black" if row.on_front else "none",
            capsize=2,
        )
        axes.annotate(
            f"{row.name} ({row.format})", (place, height), fontsize=7, xytext=(5, 4),
            textcoords="offset points",
        )  # fmt: skip
    axes.set(ylabel="KL divergence (nats)")


def _draw_drops(axes: Axes, variants: Sequence[Variant]) -> None:
    categories = _shared_categories(variants)
    step = 0.8 / len(variants)
    for index, variant in enumerate(variants):
        rows = [(place, variant.comparison.category(name)) for place, name in enumerate(categories)]
        shown = [(place, row) for place, row in rows if row is not None]
        drops = [row.drop_points for _, row in shown]
        noise = [
            (row.drop_points - row.drop_interval.low, row.drop_interval.high - row.drop_points)
            if row.drop_interval
            else (0.0, 0.0)
            for _, row in shown
        ]
        axes.barh(
            [place - 0.4 + step * (index + 0.5) for place, _ in shown],
            drops,
            height=step,
            xerr=[[max(low, 0) for low, _ in noise], [max(high, 0) for _, high in noise]],
            label=variant.name,
            error_kw={"linewidth": 0.8},
        )
    axes.set_yticks(range(len(categories)), categories)
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="drop (percentage points)")
    axes.legend(fontsize=7)


def _shared_categories(variants: Sequence[Variant]) -> list[Category]:
    """Categories that any variant was examined in, capabilities first."""
    seen = {row.category for variant in variants for row in variant.comparison.categories}
    return [category for category in (*CAPABILITIES, *RELIABILITY) if category in seen]
