"""What is asked of the store: runs by model, device, runtime, format and time, with their figures.

    SELECT figure_device, format, avg(predicted / measured) FROM results
    WHERE quantity = 'decode' AND measured GROUP BY figure_device, format

is asked in SQL of the view `results`, by any program that reads SQLite.
"""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.results.store import FIGURE_COLUMNS, RUN_COLUMNS, read_rows, store_path
from edgecomp.results.stored_run import StoredRun, utc_text


class ResultsFilter(FrozenModel):
    """Which runs are wanted; None and empty: all. Texts match any part of a name."""

    model: str | None = None
    device: str | None = None
    """The device that was planned for, or one that a figure holds on."""

    runtime: str | None = None
    format: str | None = None
    since: datetime.datetime | None = None
    most_bits: float | None = None
    """Bits a weight, at most."""


class Results(FrozenModel):
    """The runs that a store holds, the latest first."""

    schema_version: Literal[1] = 1
    store: Path
    runs: tuple[StoredRun, ...]


def read_results(wanted: ResultsFilter, path: Path | None = None) -> Results:
    """The runs that `wanted` describes. Raises ResultsNewer and ResultsUnusable."""
    store = path or store_path()
    conditions = list(_conditions(wanted))
    where = " AND ".join(text for text, _ in conditions) or "TRUE"
    parameters = tuple(value for _, values in conditions for value in values)
    chosen = f"SELECT * FROM runs WHERE {where}"
    runs = read_rows(store, f"{chosen} ORDER BY at DESC, key", parameters)
    query = f"SELECT * FROM figures WHERE run IN (SELECT key FROM ({chosen})) ORDER BY run, place"
    figures: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_rows(store, query, parameters) if runs else ():
        figures[row["run"]].append({name: row[name] for name in FIGURE_COLUMNS})
    return Results(
        store=store,
        runs=tuple(
            StoredRun.model_validate(
                {**{name: row[name] for name in RUN_COLUMNS}, "figures": figures[row["key"]]}
            )
            for row in runs
        ),
    )


def _conditions(wanted: ResultsFilter) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """SQL conditions on `runs`, each with its parameters."""
    for column in ("model", "runtime", "format"):
        value = getattr(wanted, column)
        if value:
            yield f"instr(lower({column}), lower(?))", (value,)
    if wanted.device:
        held = "SELECT run FROM figures WHERE instr(lower(device), lower(?))"
        found = f"(instr(lower(device), lower(?)) OR key IN ({held}))"
        yield found, (wanted.device, wanted.device)
    if wanted.since:
        yield "at >= ?", (utc_text(wanted.since),)
    if wanted.most_bits:
        yield "bits_per_weight <= ?", (wanted.most_bits,)


ORDERS: dict[str, tuple[str, float]] = {"loss": ("divergence", 1), "speed": ("decode", -1)}
"""The quantity that puts runs in order, and 1 where the lowest comes first."""


def in_order(results: Results, by: Literal["time", "loss", "speed", "size"]) -> Results:
    """The same runs: the latest, the least lost, the fastest or the smallest first; those of which
    it is not known come last."""
    if by == "time":
        return results
    return results.model_copy(
        update={"runs": tuple(sorted(results.runs, key=lambda run: _place(run, by)))}
    )


def _place(run: StoredRun, by: str) -> float:
    if by == "size":
        return run.size_bytes
    quantity, sign = ORDERS[by]
    figure = run.figure(quantity)
    known = figure.measured if figure else None
    return math.inf if known is None or math.isnan(known) else sign * known
