"""The report's plots as SVG: the candidates, the predictions, and memory over time."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from edgecomp.reporting.report import Report
from edgecomp.reporting.svg_plot import svg_plot


def plots(report: Report) -> tuple[tuple[str, str], ...]:
    """(title, SVG element) of each plot."""

    def drawn(draw: Callable[[Axes, Report], None]) -> str:
        return svg_plot(lambda axes: draw(axes, report))

    return (
        ("Size against divergence; colour is decode speed", drawn(_candidates)),
        ("Predicted against measured", drawn(_predictions)),
        ("Memory of the process over time", drawn(_memory)),
    )


def _candidates(axes: Axes, report: Report) -> None:
    rows = [row for row in report.others if row.context == report.chosen.context]
    speeds = [row.speed.decode_tokens_per_second for row in rows]
    measured = report.measurement.at(report.chosen.speed.prompt_tokens).decode_tokens_per_second
    limits = min([*speeds, measured.median]), max([*speeds, measured.median])
    points = axes.scatter(
        [row.file_bytes / 1e6 for row in rows],
        [row.expected_divergence_nats for row in rows],
        c=speeds,
        vmin=limits[0],
        vmax=limits[1],
        label="candidate, expected",
    )
    for row in rows:
        place = (row.file_bytes / 1e6, row.expected_divergence_nats)
        axes.annotate(row.format, place, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.scatter(
        [report.artifact.size_bytes / 1e6],
        [report.divergence.kl_mean],
        c=[measured.median],
        vmin=limits[0],
        vmax=limits[1],
        marker="*",
        s=160,
        edgecolors="black",
        label="artifact, measured",
    )
    axes.figure.colorbar(points, label="decode tok/s")
    axes.set(xlabel="file size (MB)", ylabel="KL divergence (nats)")
    axes.legend(fontsize=7)


def _predictions(axes: Axes, report: Report) -> None:
    rows = report.predictions
    axes.barh([row.quantity for row in rows], [row.predicted / row.measured for row in rows])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="predicted / measured")


def _memory(axes: Axes, report: Report) -> None:
    samples = report.measurement.memory_timeline
    seconds = [sample[0] for sample in samples]
    anonymous = [sample[1] / 1e6 for sample in samples]
    backed = [sample[2] / 1e6 for sample in samples]
    axes.stackplot(seconds, anonymous, backed, labels=["anonymous", "file-backed"], step="post")
    axes.axhline(
        report.chosen.memory.total_bytes / 1e6,
        color="black",
        linestyle="--",
        label="predicted peak",
    )
    axes.set(xlabel="seconds", ylabel="resident memory (MB)")
    axes.legend(fontsize=7, loc="lower right")
