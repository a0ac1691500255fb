"""Predicted peak memory beside measured, for four models, in llama.cpp and in ONNX Runtime.

    python benchmarks/predict_memory.py

Every row is one fresh process that reads a prompt as long as its context and writes a few tokens.
Beside the peak, each buffer is compared with what llama.cpp itself reports of it. A quantized cache
without flash attention is left out: llama.cpp refuses it. How busy the machine is does not matter.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from random_models import MODELS, write_random
from rich.console import Console
from rich.table import Table

from edgecomp.common.errors import ExportRefused
from edgecomp.common.machine_limits import physical_cores
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.formats.exporting import find_exporter, find_onnx_exporter
from edgecomp.formats.format_facts import tensor_types_of
from edgecomp.formats.layered_weights import layered_weights
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.memory import MemoryEstimate, estimate_memory
from edgecomp.planning.onnx_candidates import ONNX_MICRO_BATCH
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime as llama_cpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.onnx import runtime as onnx
from edgecomp.runtimes.protocol import RawMeasurement, Runtime, Timing

FORMATS = ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M", "IQ4_XS")
CONTEXTS = (512, 2048, 4096, 8192)
CACHES = (("F16", True), ("F16", False), ("Q8_0", True))
"""The cache's type, and whether flash attention is on."""

ONNX_FORMATS = ("onnx-fp32", "onnx-int8", "onnx-int4-32")
ONNX_CONTEXTS = (512, 2048)
WRITTEN = 4
THREADS = physical_cores()
REPORTED_TO_BYTES = 2 * 5243
"""llama.cpp prints hundredths of a MiB, and a sliding model has two caches."""


class Row(NamedTuple):
    """One measured process. Bytes; `reported` gives llama.cpp's own buffers by name."""

    model: str
    format: str
    settings: RunSettings
    predicted: MemoryEstimate
    measured: int
    reported: dict[str, int]

    @property
    def error_percent(self) -> float:
        return 100 * (self.predicted.total_bytes / self.measured - 1)

    @property
    def runtime(self) -> str:
        return "llama.cpp" if self.reported else "ONNX Runtime"

    @property
    def where(self) -> str:
        flash = "" if self.settings.flash_attention else " without flash attention"
        return f"{self.format}, {self.settings.context}, {self.settings.kv_type} cache{flash}"


def main() -> None:
    """Measure everything and print the tables."""
    # Threads that spin while they wait would slow this down beside other work, and time is no
    # matter here.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    console = Console(width=120, highlight=False)
    rows: list[Row] = []
    for name in ("demo", *MODELS):
        with tempfile.TemporaryDirectory() as scratch:
            for row in measured_rows(name, Path(scratch)):
                rows.append(row)
                console.print(
                    f"{name}, {row.where}: {row.predicted.total_bytes / 1e6:.1f} MB predicted, "
                    f"{row.measured / 1e6:.1f} measured, {row.error_percent:+.1f} %"
                )
    console.print(errors(rows), agreement(rows))


def measured_rows(name: str, scratch: Path) -> Iterator[Row]:
    """Every row of one model; its files go to `scratch`."""
    model = source(name, scratch)
    yield from _llama_rows(name, model, scratch)
    try:
        yield from _onnx_rows(name, model, scratch)
    except ExportRefused as refusal:
        print(refusal)


def source(name: str, scratch: Path) -> ModelSpec:
    """The demo, or a random model written to `scratch`."""
    if name == "demo":
        return read_model(name)
    write_random(name, scratch / "checkpoint")
    return read_model(scratch / "checkpoint")


def _llama_rows(name: str, model: ModelSpec, scratch: Path) -> Iterator[Row]:
    base, file = scratch / "base.gguf", scratch / "made.gguf"
    find_exporter("gguf").export(model, base, "F16")
    worker = llama_cpp.measure_idle().peak_bytes
    for format_name in FORMATS:
        llama_cpp.quantize(base, file, Types(preset=format_name), threads=THREADS)
        for context in CONTEXTS:
            for kv_type, flash in CACHES:
                settings = RunSettings(
                    context=context, threads=THREADS, kv_type=kv_type, flash_attention=flash
                )
                found = _measured(llama_cpp, file, settings)
                predicted = llama_estimate(model, format_name, settings, worker)
                peak = found.peak_memory.peak_bytes
                yield Row(name, format_name, settings, predicted, peak, found.buffer_bytes)


def llama_estimate(
    model: ModelSpec, format_name: str, settings: RunSettings, worker_bytes: int
) -> MemoryEstimate:
    types = tensor_types_of(model, format_name, importance=False)
    stored = layered_weights(model, types).stored_bytes
    return estimate_memory(model, stored, settings, worker_bytes)


def _onnx_rows(name: str, model: ModelSpec, scratch: Path) -> Iterator[Row]:
    for format_name in ONNX_FORMATS:
        artifact = scratch / format_name
        find_onnx_exporter().export_format(model, artifact, format_name)
        for context in ONNX_CONTEXTS:
            settings = RunSettings(
                context=context, threads=THREADS, kv_type="F32", micro_batch=ONNX_MICRO_BATCH
            )
            found = _measured(onnx, artifact, settings)
            # Pages that are mapped from files can be dropped, and are not predicted.
            mapped = found.peak_memory.file_backed_bytes - found.started_memory.file_backed_bytes
            predicted = estimate_onnx_memory(model, format_name, settings)
            peak = found.peak_memory.peak_bytes - max(mapped, 0)
            yield Row(name, format_name, settings, predicted, peak, {})


def _measured(runtime: Runtime, file: Path, settings: RunSettings) -> RawMeasurement:
    """One pass over a full context, the one that warms up where speed is measured."""
    return runtime.measure(
        file,
        settings,
        divergence_text(),
        Timing(depths=(settings.context - WRITTEN - 1,), decode_tokens=WRITTEN, repeats=0),
    )


def errors(rows: list[Row]) -> Table:
    """Median and worst error of the peak, by model and runtime."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.model, row.runtime].append(row)
        groups["all", row.runtime].append(row)
    table = Table("model", "runtime", box=None)
    for name in ("rows", "median error %", "worst error %"):
        table.add_column(name, justify="right")
    table.add_column("where it is worst")
    for (model, runtime), group in groups.items():
        worst = max(group, key=lambda row: abs(row.error_percent))
        median = statistics.median(abs(row.error_percent) for row in group)
        table.add_row(
            model, runtime, str(len(group)), f"{median:.1f}", f"{worst.error_percent:+.1f}",
            worst.where,
        )  # fmt: skip
    return table


def agreement(rows: list[Row]) -> Table:
    """How far each buffer is from llama.cpp's own report: bytes beyond its rounding, percent."""
    table = Table("model", box=None)
    for name in ("weights", "KV cache", "output"):
        table.add_column(f"{name}: bytes beyond rounding", justify="right")
    table.add_column("compute: worst %", justify="right")
    for model in dict.fromkeys(row.model for row in rows):
        group = [row for row in rows if row.model == model and row.reported]
        off = {
            "weights": [row.predicted.weights_bytes - row.reported["weights"] for row in group],
            "kv": [row.predicted.kv_cache_bytes - row.reported["kv"] for row in group],
            "output": [row.predicted.output_bytes - row.reported["output"] for row in group],
        }
        beyond = (max(0, max(map(abs, rest)) - REPORTED_TO_BYTES) for rest in off.values())
        ratios = [row.predicted.compute_bytes / row.reported["compute"] - 1 for row in group]
        worst = max(ratios, key=abs)
        table.add_row(model, *(f"{size:,}" for size in beyond), f"{100 * worst:+.2f}")
    return table


if __name__ == "__main__":
    main()
