"""The registry of benchmarks: a row of `benchmarks.csv` each, by capability or reliability.

`file` names the JSONL under `--data DIR` that edgecomp reads itself, without a harness; the others
are run by lm-eval under `lm_eval_task`. Chance levels and shots are those of the benchmark's paper
or its lm-eval task; `shots` counts for the harness, edgecomp's own readers ask without examples.
"""

from __future__ import annotations

import csv
import importlib.resources
from collections.abc import Iterable
from typing import Literal

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.evaluate.items import CAPABILITIES, RELIABILITY, Category

Metric = Literal[
    "accuracy", "byte-normalised accuracy", "exact match", "pass@1", "strict constraint accuracy",
    "mass on true answers", "bias score", "refusal rate", "toxic rate",
]  # fmt: skip
Suite = Literal["quick", "standard", "full"]


class Benchmark(FrozenModel):
    """One benchmark. `suite` is the smallest suite it belongs to."""

    name: str
    category: Category
    metric: Metric
    chance_percent: float
    shots: int
    suite: Suite
    lm_eval_task: str | None
    file: str | None
    licence: str
    source: str


def _read_table() -> dict[str, Benchmark]:
    table = importlib.resources.files(__package__).joinpath("benchmarks.csv")
    rows = csv.DictReader(table.read_text("utf-8").splitlines())
    return {
        row["name"]: Benchmark.model_validate({key: value or None for key, value in row.items()})
        for row in rows
    }


BENCHMARKS = _read_table()

AFTER_COMPLAINTS: tuple[Category, ...] = ("reasoning", "instruction", "truthfulness")
"""Where accuracy is good and users complain still: what knowledge benchmarks do not see."""

SUITES: tuple[Suite, ...] = ("quick", "standard", "full")


class Coverage(FrozenModel):
    """Which categories a set of benchmarks sees, and which it is blind to."""

    covered: dict[Category, tuple[str, ...]]
    missing: tuple[Category, ...]
    warnings: tuple[str, ...]


def suite(name: Suite) -> tuple[Benchmark, ...]:
    """The benchmarks of a suite: `standard` includes `quick`, `full` is all."""
    included = SUITES[: SUITES.index(name) + 1]
    return tuple(row for row in BENCHMARKS.values() if row.suite in included)


def coverage(categories: Iterable[tuple[Category, str]]) -> Coverage:
    """Coverage of (category, benchmark name) pairs, be they registry rows or the own set's."""
    covered: dict[Category, list[str]] = {}
    for category, name in categories:
        names = covered.setdefault(category, [])
        if name not in names:
            names.append(name)
    return Coverage(
        covered={category: tuple(names) for category, names in covered.items()},
        missing=tuple(name for name in (*CAPABILITIES, *RELIABILITY) if name not in covered),
        warnings=tuple(_warnings(set(covered))),
    )


def _warnings(covered: set[Category]) -> list[str]:
    warnings = []
    performance = covered & set(CAPABILITIES)
    if performance == {"knowledge"}:
        warnings.append(
            "Only knowledge is evaluated. Knowledge survives compression best, so this "
            "overestimates what the artifact keeps; add reasoning and instruction following."
        )
    elif "knowledge" in covered and "reasoning" not in covered:
        warnings.append("Knowledge is evaluated without reasoning, which compression harms first.")
    if not covered & set(RELIABILITY):
        warnings.append("No dimension of reliability is evaluated, so nothing says it is safe.")
    return warnings


def untested_after_complaints(covered: Iterable[Category]) -> tuple[Category, ...]:
    """What to evaluate next where scores are good and users complain."""
    return tuple(category for category in AFTER_COMPLAINTS if category not in set(covered))
