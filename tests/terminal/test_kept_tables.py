"""Kept results on a terminal of 80 columns."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from stored_runs import a_run

from edgecomp.results.query import Results
from edgecomp.results.stored_run import Figure
from edgecomp.terminal.kept_tables import figure_plot, figure_table, results_table

RESULTS = Results(
    store=Path("results.sqlite"),
    runs=(
        a_run("Qwen2.5 Coder 1.5B Instruct", device="AMD EPYC 9V74 80-Core Processor",
              verdict="ship with accepted losses", size_bytes=14_920_300_000),
        a_run("Gemma 3 270M", runtime="onnx", device="raspberry-pi-5-8gb", format="mix"),
        a_run("Gemma 3 270M", job="measure", verdict=None, bits_per_weight=8.5,
              figures=(Figure(quantity="decode", unit="tok/s", device="a phone", predicted=12.0),)),
    ),
)  # fmt: skip


def printed(renderable: object, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(renderable)
    return console.export_text()


def test_every_figure_is_shown_in_eighty_columns() -> None:
    text = printed(results_table(RESULTS))
    assert all(len(line) <= 80 for line in text.splitlines())
    for figure in ("14,920", "100", "90", "12", "0.0500", "11-28", "mix 4.50"):
        assert figure in text
    assert "with losses" in text and "(measure)" in text


def test_a_load_is_told_by_what_the_server_wrote() -> None:
    served = Figure(quantity="served output", unit="tok/s", device="here", measured=321.0)
    runs = (a_run(job="measure", figures=(served,)),)
    assert "321" in printed(results_table(RESULTS.model_copy(update={"runs": runs})))


def test_what_all_runs_share_is_said_once() -> None:
    text = printed(results_table(RESULTS.model_copy(update={"runs": RESULTS.runs[:1]})))
    assert "model: Qwen2.5 Coder 1.5B Instruct" in text
    assert "device: AMD EPYC 9V74 80-Core Processor" in text


def test_a_quantity_stands_predicted_beside_measured() -> None:
    lines = printed(figure_table(RESULTS, "decode")).splitlines()
    assert any("90" in line and "100" in line and "-10.0" in line for line in lines)
    assert any("a phone" in line and "12" in line for line in lines)


def test_a_quantity_that_no_run_has_is_answered_with_those_that_there_are() -> None:
    for show in (figure_table, figure_plot):
        text = printed(show(RESULTS, "colour"))
        assert "decode, divergence" in text


def test_a_plot_shows_predicted_and_measured_figures_in_eighty_columns() -> None:
    text = printed(figure_plot(RESULTS, "decode"))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "predicted" in text and "measured" in text and "tok/s" in text


def test_where_nothing_is_kept_the_place_is_named() -> None:
    assert "results.sqlite" in printed(results_table(RESULTS.model_copy(update={"runs": ()})))
