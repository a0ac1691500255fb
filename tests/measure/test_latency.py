"""Where buffers were planned, beside where the runtime put them."""

from __future__ import annotations

from pathlib import Path

import pytest
from canned_reports import canned_report, scores

from edgecomp.measure.latency import Measurement, Prediction, compare_with_plan
from edgecomp.models.reading import read_model
from edgecomp.planning.card_fill import DRIVER_BYTES
from edgecomp.planning.plan import Candidate
from edgecomp.reporting.report import Report


@pytest.fixture(scope="module")
def report(tiny_gguf: Path) -> Report:
    return canned_report(read_model(tiny_gguf), "Q8_0", scores({}))


def buffers(
    report: Report, pools: dict[str, int], devices: dict[str, int]
) -> dict[str, Prediction]:
    """The rows about memories, of a candidate that uses `pools` and a run that used `devices`."""
    candidate = Candidate.model_validate({**report.chosen.model_dump(), "pool_bytes": pools})
    measured = Measurement.model_validate(
        {**report.measurement.model_dump(), "device_bytes": devices}
    )
    rows = compare_with_plan(candidate, measured)
    return {row.quantity: row for row in rows if row.quantity.startswith("buffers")}


def test_each_memory_has_its_own_line(report: Report) -> None:
    beside = report.chosen.memory.runtime_bytes
    pools = {"vram0": DRIVER_BYTES + 600, "vram1": DRIVER_BYTES + 400, "ram": beside + 100}
    rows = buffers(report, pools, {"CUDA0": 500, "CUDA1": 400, "host": 80})
    assert {name: (row.predicted, row.measured) for name, row in rows.items()} == {
        "buffers in vram0": (600, 500),
        "buffers in vram1": (400, 400),
        "buffers in ram": (100, 80),
    }
    assert rows["buffers in vram0"].error_percent == pytest.approx(20)


def test_one_memory_for_all_processors_holds_all_buffers(report: Report) -> None:
    beside = report.chosen.memory.runtime_bytes
    rows = buffers(report, {"unified": beside + 100}, {"MTL0": 70, "host": 20})
    assert rows["buffers in unified"].measured == 90


def test_a_card_that_the_runtime_lacks_has_no_line(report: Report) -> None:
    rows = buffers(report, {"vram": 10**9, "ram": 10**9}, {"host": 5 * 10**8})
    assert list(rows) == ["buffers in ram"]


def test_a_runtime_that_tells_nothing_is_not_compared(report: Report) -> None:
    assert buffers(report, {"vram": 10**9, "ram": 10**9}, {}) == {}
