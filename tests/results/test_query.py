"""What is asked of the store comes back, and no more."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from stored_runs import a_run

from edgecomp.results.query import ResultsFilter, in_order, read_results
from edgecomp.results.store import add_run
from edgecomp.results.stored_run import Figure

DAY = datetime.datetime(2026, 11, 20, 8, tzinfo=datetime.UTC)


def on(device: str, decode: float | None) -> tuple[Figure, ...]:
    return (Figure(quantity="decode", unit="tok/s", device=device, measured=decode),)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "results.sqlite"
    for run in (
        a_run("Qwen 0.5B", format="Q4_K_M", bits_per_weight=4.9, at=DAY, figures=on("a Xeon", 40)),
        a_run("Qwen 1.5B", format="mix", bits_per_weight=4.2, device="raspberry-pi-5-8gb",
              figures=(*on("a Xeon", 20), Figure(quantity="decode", unit="tok/s",
                                                 device="raspberry-pi-5-8gb", predicted=6.0))),
        a_run("Gemma_270M", runtime="onnx", format="onnx-int4", at=DAY, size_bytes=10,
              figures=on("a Xeon", None)),
    ):  # fmt: skip
        add_run(run, path)
    return path


@pytest.mark.parametrize(
    ("wanted", "models"),
    [
        ({}, ["Qwen 1.5B", "Gemma_270M", "Qwen 0.5B"]),
        ({"model": "qwen"}, ["Qwen 1.5B", "Qwen 0.5B"]),
        ({"model": "Gemma%"}, []),
        ({"model": "gemma_"}, ["Gemma_270M"]),
        ({"device": "raspberry"}, ["Qwen 1.5B"]),
        ({"device": "xeon", "runtime": "llama"}, ["Qwen 1.5B", "Qwen 0.5B"]),
        ({"format": "q4_k"}, ["Qwen 0.5B"]),
        ({"since": DAY + datetime.timedelta(hours=1)}, ["Qwen 1.5B"]),
        ({"since": DAY}, ["Qwen 1.5B", "Gemma_270M", "Qwen 0.5B"]),
        ({"most_bits": 4.3}, ["Qwen 1.5B"]),
    ],
    ids=str,
)
def test_filters_choose_runs(path: Path, wanted: dict[str, object], models: list[str]) -> None:
    found = read_results(ResultsFilter.model_validate(wanted), path)
    assert sorted(run.model for run in found.runs) == sorted(models)
    assert all(run.figures for run in found.runs)


def test_the_latest_come_first(path: Path) -> None:
    assert read_results(ResultsFilter(), path).runs[0].model == "Qwen 1.5B"


def test_another_order_puts_what_is_not_known_last(path: Path) -> None:
    found = read_results(ResultsFilter(), path)
    fastest = [run.model for run in in_order(found, "speed").runs]
    assert fastest == ["Qwen 0.5B", "Qwen 1.5B", "Gemma_270M"]
    assert in_order(found, "size").runs[0].model == "Gemma_270M"
