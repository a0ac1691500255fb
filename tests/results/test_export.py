"""Results as files of other tools: one row a figure, read back by these tools' own readers."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from stored_runs import a_run

from edgecomp.common.errors import ExportUnknown, PackageMissing
from edgecomp.results.export import export_results
from edgecomp.results.query import Results
from edgecomp.results.store import RESULT_COLUMNS

RESULTS = Results(store=Path("results.sqlite"), runs=(a_run(), a_run("Large", busy=None)))


def test_csv_has_a_row_a_figure_with_its_runs_columns(tmp_path: Path) -> None:
    assert export_results(RESULTS, tmp_path / "all.csv") == 4
    rows = list(csv.DictReader((tmp_path / "all.csv").open(encoding="utf-8")))
    assert [(row["model"], row["quantity"]) for row in rows] == [
        ("Tiny", "decode"), ("Tiny", "divergence"), ("Large", "decode"), ("Large", "divergence"),
    ]  # fmt: skip
    assert tuple(rows[0]) == RESULT_COLUMNS
    assert (float(rows[0]["predicted"]), float(rows[0]["measured"])) == (90.0, 100.0)
    assert rows[1]["predicted"] == ""


def test_json_carries_its_version(tmp_path: Path) -> None:
    export_results(RESULTS, tmp_path / "all.json")
    value = json.loads((tmp_path / "all.json").read_text())
    assert value["schema_version"] == 1 and value["rows"][0]["verdict"] == "ship"


def test_parquet_keeps_types_and_what_is_not_known(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_results(RESULTS, tmp_path / "all.parquet")
    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert len(rows) == 4 and tuple(rows[0]) == RESULT_COLUMNS
    assert (rows[0]["predicted"], rows[1]["predicted"]) == (90.0, None)
    assert (rows[0]["busy"], rows[2]["busy"], rows[0]["size_bytes"]) == (False, None, 1000)


def test_parquet_of_nothing_can_be_read(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export_results(RESULTS.model_copy(update={"runs": ()}), tmp_path / "none.parquet")
    assert tuple(parquet.read_table(tmp_path / "none.parquet").column_names) == RESULT_COLUMNS


def test_without_pyarrow_the_extra_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(PackageMissing, match=r"edgecomp\[parquet\]"):
        export_results(RESULTS, tmp_path / "all.parquet")
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ExportUnknown, match=r"\.csv, \.json, \.parquet"):
        export_results(RESULTS, tmp_path / "all.xlsx")
