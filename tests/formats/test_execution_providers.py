"""The table of ONNX Runtime's execution providers, held against what is installed."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

from edgecomp.common.errors import CompressionSettingsInvalid
from edgecomp.formats.execution_providers import (
    DECODER_OPERATORS,
    PROVIDERS,
    execution_provider,
    require_precision,
    with_operator,
)
from edgecomp.formats.onnx_formats import ONNX_FORMATS


def test_every_provider_is_one_that_onnx_runtime_knows() -> None:
    known = set(onnxruntime.get_all_providers())
    assert {row.runtime_name for row in PROVIDERS.values()} <= known


def test_the_cpus_row_is_what_is_registered_in_this_build() -> None:
    registered = {
        row.op_name
        for row in get_all_opkernel_def()
        if row.provider == PROVIDERS["cpu"].runtime_name
    }
    assert set(DECODER_OPERATORS) - registered == PROVIDERS["cpu"].lacks


def test_what_a_provider_lacks_is_an_operator_of_our_graphs() -> None:
    for row in PROVIDERS.values():
        assert row.lacks <= set(DECODER_OPERATORS), row.name
        assert row.packages and row.precisions, row.name


def test_every_format_has_a_provider() -> None:
    built = {precision for row in PROVIDERS.values() for precision in row.precisions}
    assert {row.precision for row in ONNX_FORMATS.values()} == built


def test_a_precision_that_a_provider_lacks_is_refused_with_those_that_have_it() -> None:
    with pytest.raises(CompressionSettingsInvalid, match="fp16 has cuda and dml"):
        require_precision("cpu", "fp16")
    with pytest.raises(CompressionSettingsInvalid, match="CoreML does not run int4"):
        require_precision("coreml", "int4")


def test_a_provider_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(CompressionSettingsInvalid, match=r"'tpu'.*cpu, cuda, dml, webgpu, qnn"):
        execution_provider("tpu")


def test_an_operator_is_named_with_the_providers_that_compute_it() -> None:
    assert "OpenVINO" in with_operator("MatMulNBits")
    assert {"DirectML", "CoreML"}.isdisjoint(with_operator("GatherBlockQuantized"))


def test_the_page_on_providers_says_what_the_table_does() -> None:
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    del rows["--provider"]
    assert set(rows) == set(PROVIDERS)
    for name, line in rows.items():
        provider, cells = PROVIDERS[name], [cell.strip() for cell in line.split("|")]
        assert cells[3] == ", ".join(provider.precisions)
        assert all(package in cells[6] for package in provider.packages)
        if name != "coreml":
            named = {operator for operator in DECODER_OPERATORS if operator in cells[4]}
            assert named - {"SimplifiedLayerNormalization"} == provider.lacks - {
                "SimplifiedLayerNormalization"
            }
