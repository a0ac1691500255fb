"""ONNX Runtime's memory as predicted, beside what a fresh process takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.exporting import find_onnx_exporter
from edgecomp.models.reading import read_model
from edgecomp.planning.onnx_memory import LIBRARY_BYTES, estimate_onnx_memory
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import RawMeasurement, Timing, find_runtime


def settings(context: int) -> RunSettings:
    return RunSettings(context=context, micro_batch=128, threads=1, kv_type="F32")


def test_a_longer_context_costs_its_cache_to_the_byte(tiny_model: Callable[..., Path]) -> None:
    model = read_model(tiny_model("llama-long"))
    short, long = (estimate_onnx_memory(model, "onnx-fp32", settings(c)) for c in (1024, 2048))
    assert long.kv_cache_bytes - short.kv_cache_bytes == 1024 * 2 * 2 * (16 + 16) * 4


def test_a_tiny_model_takes_what_was_predicted(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = read_model(tiny_model("llama-long"))
    find_onnx_exporter().export_format(model, tmp_path / "out", "onnx-int4-32")
    found = find_runtime("onnx").measure(
        tmp_path / "out",
        settings(512),
        divergence_text(),
        Timing(depths=(500,), decode_tokens=4, repeats=1),
    )
    predicted = estimate_onnx_memory(model, "onnx-int4-32", settings(512)).total_bytes
    # What is mapped of the libraries, most of such a process, is not the model's.
    assert predicted - LIBRARY_BYTES == pytest.approx(found.peak_memory.anonymous_bytes, rel=0.15)


def unmapped_bytes(found: RawMeasurement) -> int:
    """The peak without the pages of the file that were mapped while it ran."""
    mapped = found.peak_memory.file_backed_bytes - found.loaded_memory.file_backed_bytes
    return found.peak_memory.peak_bytes - max(mapped, 0)


@pytest.mark.demo
@pytest.mark.slow
@pytest.mark.parametrize("format_name", ["onnx-fp32", "onnx-int8", "onnx-int4-32"])
def test_the_demo_takes_what_was_predicted_within_a_tenth(tmp_path: Path, format_name: str) -> None:
    model = read_model("demo")
    find_onnx_exporter().export_format(model, tmp_path / "out", format_name)
    found = find_runtime("onnx").measure(
        tmp_path / "out",
        settings(1024),
        divergence_text(),
        Timing(depths=(1000,), decode_tokens=8, repeats=1),
    )
    predicted = estimate_onnx_memory(model, format_name, settings(1024)).total_bytes
    assert predicted == pytest.approx(unmapped_bytes(found), rel=0.10)
