"""A report on one page: the verdict, three dimensions, and the plan beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgecomp.common.quantity import format_size
from edgecomp.evaluate.comparison import ScoreComparison
from edgecomp.evaluate.items import RELIABILITY
from edgecomp.reporting.report import Report
from edgecomp.reporting.sections import Section, capability_section, sections
from edgecomp.terminal.report_tables import section_table
from edgecomp.terminal.tables import facts

from .bars import REACH_POINTS, interval_strip
from .cut import cut_middle

SIGNS = {
    "ship": ("✓", "green"),
    "ship with accepted losses": ("✓", "yellow"),
    "recalibrate": ("↻", "yellow"),
    "do not ship": ("✗", "red"),
    "incomplete": ("?", "yellow"),
}
FULL_WIDTH, SHORT_WIDTH = 105, 63
"""Cells of all columns, or of those that 80 columns hold, without the drawn interval."""

LONGEST_STRIP = 41
ROOMY_WIDTH = FULL_WIDTH + 20
SHORT = {"base %": "base", "artifact %": "now", "drop points": "drop"}
"""Headings where there are 80 columns; all of these are in percent or points."""


def results_view(report: Report, width: int) -> RenderableType:
    """The whole page, for `width` cells."""
    rows = report.comparison.categories
    performance = [row for row in rows if row.category not in RELIABILITY]
    reliability = [row for row in rows if row.category in RELIABILITY]
    predicted = next(s for s in sections(report) if s.title == "Predicted against measured")
    return Group(
        *_verdict(report),
        Text(),
        _capabilities("Performance", performance, report, width),
        Text(),
        _capabilities("Reliability", reliability, report, width),
        *_bias(report),
        Text(),
        Text("Efficiency", style="bold"),
        facts(_efficiency(report)),
        Text(),
        section_table(predicted if width >= 100 else _without(predicted, "basis")),
        Text("Findings", style="bold"),
        facts((finding.rule, finding.text) for finding in report.verdict.findings),
    )


def _verdict(report: Report) -> Iterator[Text]:
    sign, colour = SIGNS[report.verdict.level]
    yield Text.assemble(
        (f"{sign} {report.verdict.level.upper()}", f"bold {colour}"),
        f"  {report.model.name} as {report.chosen.format}, task {report.recipe.constraints.task}",
    )
    yield Text(report.verdict.summary)
    for remedy in report.verdict.remedies[:1]:
        yield Text("Next: ", style="bold").append(remedy.text, style="not bold")
        if remedy.command:
            yield Text(f"      {remedy.command}", style="dim")


def _capabilities(
    title: str, rows: Sequence[ScoreComparison], report: Report, width: int
) -> RenderableType:
    """Scores with their drop and its interval, drawn on a scale of +-30 points."""
    if not rows:
        return Group(Text(title, style="bold"), Text("Not examined.", style="dim"))
    picked = report.comparison.model_copy(update={"categories": tuple(rows)})
    section = capability_section(picked)
    roomy = width >= ROOMY_WIDTH
    hidden = set() if roomy else {"items", "retention %"}
    strip = min(LONGEST_STRIP, width - (FULL_WIDTH if roomy else SHORT_WIDTH))
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for name, numeric in zip(section.columns, section.numeric, strict=True):
        if name not in hidden:
            heading = name if roomy else SHORT.get(name, name)
            table.add_column(heading, justify="right" if numeric else "left", no_wrap=True)
    table.add_column("gain ◂ 0 ▸ loss" if strip > 15 else "gain 0 loss", no_wrap=True)
    for cells, row in zip(section.rows, rows, strict=True):
        shown = [
            Text(cell if roomy else cell.replace("not at ", "no, "))
            for name, cell in zip(section.columns, cells, strict=True)
            if name not in hidden
        ]
        table.add_row(*shown, _strip(row, strip))
    return Group(Text(title, style="bold"), table)


def _strip(row: ScoreComparison, width: int) -> Text:
    if row.drop_interval is None:
        return Text()
    strip = interval_strip(
        row.drop_points, row.drop_interval.low, row.drop_interval.high, REACH_POINTS, width
    )
    strip.stylize("red" if row.drop_interval.low > 0 else "green" if row.resolved else "")
    return strip


def _bias(report: Report) -> Iterator[Text]:
    bias = report.comparison.bias
    if bias is None:
        return
    for name in ("ambiguous", "disambiguated"):
        before, after = getattr(bias.base, name), getattr(bias.artifact, name)
        if before is not None and after is not None:
            yield Text(f"bias score, {name} contexts: {before:+.2f} before, {after:+.2f} after")


def _efficiency(report: Report) -> list[tuple[str, str]]:
    size, measured = report.artifact.size_bytes, report.measurement
    row = measured.at(report.chosen.speed.prompt_tokens)
    decode, first = row.decode_tokens_per_second, row.first_token_seconds
    divergence = report.divergence
    return [
        ("size", f"{format_size(size)}, {2 * report.model.parameters / size:.2f} x below 16 bits"),
        ("memory", f"{format_size(measured.peak_memory_bytes)} at the peak"),
        (
            "decode",
            f"{decode.median:.1f} tok/s at depth {row.depth} "
            f"(p5 to p95 {decode.p5:.1f} to {decode.p95:.1f}, n={decode.count})",
        ),
        ("first token", f"{first.median:.3f} s after {row.depth} tokens"),
        (
            "divergence",
            f"{divergence.kl_mean:.4f} nats a token from the base, "
            f"{divergence.agreement_percent:.1f} % same first choice",
        ),
        ("machine", cut_middle(f"{measured.machine.processor}, {measured.runtime}", 60)),
    ]


def _without(section: Section, column: str) -> Section:
    index = section.columns.index(column)
    return section.model_copy(
        update={
            "columns": section.columns[:index] + section.columns[index + 1 :],
            "rows": tuple(row[:index] + row[index + 1 :] for row in section.rows),
        }
    )
