"""The report as Markdown and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable

import jinja2
from markupsafe import Markup

from edgecomp.reporting.report import Report
from edgecomp.reporting.sections import Section, sections


def _environment(*, autoescape: bool) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("edgecomp.reporting"),
        autoescape=autoescape,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )


def markdown_report(report: Report) -> str:
    """The report as Markdown."""
    environment = _environment(autoescape=False)
    # A bar inside a cell would end it.
    environment.filters["cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    template = environment.get_template("report.md.jinja")
    return template.render(sections=sections(report))


def html_report(report: Report) -> str:
    """The report as HTML with its plots inside; it loads nothing from anywhere."""
    from edgecomp.reporting.report_plots import plots

    return html_page(sections(report), plots(report))


def html_page(parts: Iterable[Section], plots: Iterable[tuple[str, str]]) -> str:
    """Sections and plots (title, SVG) as one HTML page that loads nothing from anywhere."""
    template = _environment(autoescape=True).get_template("report.html.jinja")
    drawn = [(title, Markup(svg)) for title, svg in plots]
    return template.render(sections=parts, plots=drawn)
