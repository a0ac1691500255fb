"""Results as a file of other tools: one row a figure, with its run's columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgecomp.common.atomic import replacing
from edgecomp.common.errors import ExportUnknown, PackageMissing
from edgecomp.results.query import Results
from edgecomp.results.store import FIGURE_COLUMNS, REAL, RESULT_COLUMNS, RUN_COLUMNS, WHOLE

SCHEMA_VERSION = 1
Row = dict[str, Any]


def export_results(results: Results, path: Path) -> int:
    """Write `path` as its ending says: .csv, .json or .parquet. The number of rows.

    Raises ExportUnknown for another ending, PackageMissing for Parquet without pyarrow, NotWritable
    and DiskFull.
    """
    path = path.expanduser()
    write = WRITERS.get(path.suffix.lower())
    if write is None:
        raise ExportUnknown(path, list(WRITERS))
    rows = result_rows(results)
    with replacing(path) as temporary:
        write(rows, temporary)
    return len(rows)


def result_rows(results: Results) -> list[Row]:
    """A row a figure, in the order of the view `results`."""
    found = []
    for run in results.runs:
        own = run.model_dump(mode="json", include=set(RUN_COLUMNS))
        for figure in run.figures:
            more = figure.model_dump(mode="python")
            named = {"figure_device" if n == "device" else n: more[n] for n in FIGURE_COLUMNS}
            row = own | named
            found.append({name: row[name] for name in RESULT_COLUMNS})
    return found


def _write_csv(rows: list[Row], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, RESULT_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


def _write_json(rows: list[Row], path: Path) -> None:
    value = {"schema_version": SCHEMA_VERSION, "rows": rows}
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _write_parquet(rows: list[Row], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise PackageMissing(
            "pyarrow is not installed, which writes Parquet. Install it with: pip install "
            "'edgecomp[parquet]'. Or export to .csv or .json."
        ) from error
    kinds = {"busy": pyarrow.bool_()}
    kinds |= {name: pyarrow.float64() for name in REAL}
    kinds |= {name: pyarrow.int64() for name in WHOLE if name not in kinds}
    schema = pyarrow.schema(
        [(name, kinds.get(name, pyarrow.string())) for name in RESULT_COLUMNS],
        metadata={"edgecomp.schema_version": str(SCHEMA_VERSION)},
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)


WRITERS: dict[str, Callable[[list[Row], Path], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".parquet": _write_parquet,
}
