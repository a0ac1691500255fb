"""Kept results for a terminal: a row a run, a row a figure, and one figure over bits a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from edgecomp.common.quantity import format_rate
from edgecomp.results.query import Results
from edgecomp.results.stored_run import Figure, StoredRun
from edgecomp.terminal.fitting_table import FittingTable

NAME_WIDTH, FORMAT_WIDTH = 11, 10
"""Characters of a model's or a device's name, and of a format's; --json and --export have the
whole."""

SHORT = {"ship with accepted losses": "with losses"}
"""Verdicts that are told in fewer words here."""

PLOT_WIDTH, PLOT_HEIGHT = 78, 22
EMPTY = "No results are kept yet in {store}, or none that was asked for."
Entry = tuple[StoredRun, Figure]
Row = TypeVar("Row")


def results_table(results: Results) -> RenderableType:
    """A row a run: what it made, and the figures that people ask for first."""
    runs = results.runs
    if not runs:
        return Text(EMPTY.format(store=results.store))
    names, left = _told_apart(
        runs,
        {"model": lambda run: run.model, "device": lambda run: run.device},
    )
    columns = ("when", *left, "format", "MB", "tok/s", "plan", "nats", "verdict")
    rows = [
        (
            f"{run.at:%m-%d}",
            *(_cut(read(run), NAME_WIDTH) for read in left.values()),
            _format(run),
            format_rate(run.size_bytes / 1e6),
            *_speed(run),
            _nats(run),
            SHORT.get(run.verdict or "", run.verdict or f"({run.job})"),
        )
        for run in runs
    ]
    numeric = [name in ("MB", "tok/s", "plan", "nats") for name in columns]
    return Group(*map(Text, names), FittingTable(columns, numeric, rows))


def figure_table(results: Results, quantity: str) -> RenderableType:
    """A row for each figure of a quantity, predicted beside measured."""
    entries = _entries(results, quantity)
    if not entries:
        return Text(_none_of(results, quantity))
    names, left = _told_apart(
        entries,
        {"model": lambda e: e[0].model, "device": lambda e: e[1].device,
         "of": lambda e: e[1].subject, "unit": lambda e: e[1].unit},
    )  # fmt: skip
    columns = (*left, "format", "predicted", "measured", "error %")
    rows = [
        (
            *(_cut(read(entry), NAME_WIDTH) for read in left.values()),
            _format(entry[0]),
            _number(entry[1].predicted),
            _number(entry[1].measured),
            _error(entry[1]),
        )
        for entry in entries
    ]
    numeric = [name in ("predicted", "measured", "error %") for name in columns]
    heading = Text(f"{quantity}, predicted beside measured", style="bold")
    return Group(heading, *map(Text, names), FittingTable(columns, numeric, rows))


def figure_plot(results: Results, quantity: str) -> RenderableType:
    """A quantity over bits a weight: what was predicted, and what was measured."""
    import plotext

    entries = _entries(results, quantity)
    series = [
        (marker, label, [(run.bits_per_weight, value) for run, value in _values(entries, label)])
        for marker, label in (("o", "predicted"), ("x", "measured"))
    ]
    if not any(points for *_, points in series):
        return Text(_none_of(results, quantity))
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(PLOT_WIDTH, PLOT_HEIGHT)
    plotext.title(f"{quantity} ({entries[0][1].unit}) over bits a weight")
    for marker, label, points in series:
        if points:
            xs, ys = zip(*points, strict=True)
            plotext.scatter(xs, ys, marker=marker, label=label)
    return Text(plotext.uncolorize(plotext.build()))


def _entries(results: Results, quantity: str) -> list[Entry]:
    return [(run, row) for run in results.runs for row in run.figures if row.quantity == quantity]


def _values(entries: Sequence[Entry], field: str) -> Iterator[tuple[StoredRun, float]]:
    for run, figure in entries:
        value = getattr(figure, field)
        if run.bits_per_weight is not None and value is not None and math.isfinite(value):
            yield run, value


def _none_of(results: Results, quantity: str) -> str:
    known = sorted({row.quantity for run in results.runs for row in run.figures})
    if not known:
        return EMPTY.format(store=results.store)
    return f"No run that was asked for has the figure {quantity}. They have: {', '.join(known)}."


def _told_apart(
    rows: Sequence[Row], readers: dict[str, Callable[[Row], str]]
) -> tuple[list[str], dict[str, Callable[[Row], str]]]:
    """What is the same in all rows, as lines; and the readers of the columns that differ."""
    lines, left = [], {}
    for name, read in readers.items():
        values = {read(row) for row in rows}
        if len(values) > 1:
            left[name] = read
        elif values != {""}:
            lines.append(f"{name}: {values.pop()}")
    return lines, left


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _format(run: StoredRun) -> str:
    bits = f" {run.bits_per_weight:.2f}" if run.format == "mix" and run.bits_per_weight else ""
    return _cut(f"{run.format}{bits}", FORMAT_WIDTH)


def _speed(run: StoredRun) -> tuple[str, str]:
    """Decoding as measured and as planned, where one of its depths has both; else what a server
    wrote under its last load."""
    rows = [row for row in run.figures if row.quantity == "decode"]
    rows = rows or [row for row in run.figures if row.quantity == "served output"]
    both = [row for row in rows if row.predicted is not None and row.measured is not None]
    for row in reversed(both or rows):
        return _number(row.measured), _number(row.predicted)
    return "", ""


def _nats(run: StoredRun) -> str:
    row = run.figure("divergence")
    return f"{row.measured:.4f}" if row and row.measured is not None else ""


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 1 else format_rate(value)


def _error(row: Figure) -> str:
    if row.predicted is None or not row.measured:
        return ""
    return f"{100 * (row.predicted / row.measured - 1):+.1f}"
