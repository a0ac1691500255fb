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

from edgecomp.detect import physical_cores
from edgecomp.evaluate.own_text import divergence_text
from edgecomp.exporting import find_exporter, find_onnx_exporter
from edgecomp.format_facts import tensor_types_of
from edgecomp.layered_weights import layered_weights
from edgecomp.memory import MemoryEstimate, estimate_memory
from edgecomp.model import ModelSpec, read_model
from edgecomp.onnx_memory import estimate_onnx_memory
from edgecomp.planner import ONNX_MICRO_BATCH
from edgecomp.runtimes.llama_cpp import runtime as llama_cpp
from edgecomp.runtimes.onnx import runtime as onnx
from edgecomp.runtimes.protocol import RawMeasurement
from edgecomp.runtimes.settings import RunSettings

FORMATS = ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M", "IQ4_XS")
CONTEXTS = (512, 2048, 4096, 8192)
CACHES = (("F16", True), ("F16", False), ("Q8_0", True))
"""The cache's type, and whether flash attention is on."""

ONNX_FORMATS = ("onnx-fp32", "onnx-int8", "onnx-int4-32")
ONNX_CONTEXTS = (512, 2048)
WRITTEN = 4
REPORTED_TO_BYTES = 0.005 * 2**20 + 1
"""llama.cpp prints hundredths of a MiB, for each of a sliding model's two caches."""


class Row(NamedTuple):
    """One measured process. Bytes; `buffers` gives predicted and reported ones by name."""

    model: str
    format: str
    context: int
    cache: str
    predicted: int
    measured: int
    buffers: dict[str, tuple[int, int]]

    @property
    def error_percent(self) -> float:
        return 100 * (self.predicted / self.measured - 1)


def main() -> None:
    """Measure everything and print the tables."""
    # Threads that spin while they wait would slow this down beside other work, and time is no
    # matter here.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    console = Console(width=120, highlight=False)
    rows: list[Row] = []
    for name in ("demo", *MODELS):
        with tempfile.TemporaryDirectory() as scratch:
            model = _source(name, Path(scratch))
            for row in (*_llama_rows(name, model, Path(scratch)), *_onnx_rows(name, model, Path(scratch))):
                rows.append(row)
                console.print(
                    f"{row.model}, {row.format}, {row.context}, {row.cache}: "
                    f"{row.predicted / 1e6:.1f} MB, measured {row.measured / 1e6:.1f} "
                    f"({row.error_percent:+.1f} %)"
                )
    console.print(_errors(rows), _agreement(rows))


def _source(name: str, folder: Path) -> ModelSpec:
    if name == "demo":
        return read_model(name)
    write_random(name, folder / "checkpoint")
    return read_model(folder / "checkpoint")


def _llama_rows(name: str, model: ModelSpec, folder: Path) -> Iterator[Row]:
    base, file = folder / "base.gguf", folder / "made.gguf"
    find_exporter("gguf").export(model, base, "F16")
    threads, worker = physical_cores(), llama_cpp.measure_idle().peak_bytes
    for format_name in FORMATS:
        llama_cpp.quantize(base, file, format_name, threads=threads, overrides={}, importance=None)
        types = tensor_types_of(model, format_name, importance=False)
        stored = layered_weights(model, types).stored_bytes
        for context in CONTEXTS:
            for kv_type, flash in CACHES:
                settings = RunSettings(
                    context=context, threads=threads, kv_type=kv_type, flash_attention=flash
                )
                estimate = estimate_memory(model, stored, settings, worker)
                found = _measured(llama_cpp, file, settings)
                cache = f"{kv_type}, flash {'on' if flash else 'off'}"
                yield Row(
                    name, format_name, context, cache, estimate.total_bytes,
                    found.peak_memory.peak_bytes, _buffers(estimate, found),
                )  # fmt: skip


def _onnx_rows(name: str, model: ModelSpec, folder: Path) -> Iterator[Row]:
    for format_name in ONNX_FORMATS:
        artifact = folder / format_name
        find_onnx_exporter().export_format(model, artifact, format_name)
        for context in ONNX_CONTEXTS:
            settings = RunSettings(
                context=context,
                threads=physical_cores(),
                kv_type="F32",
                micro_batch=ONNX_MICRO_BATCH,
            )
            found = _measured(onnx, artifact, settings)
            # Pages of the file that happen to be mapped can be dropped, and are not predicted.
            mapped = found.peak_memory.file_backed_bytes - found.started_memory.file_backed_bytes
            predicted = estimate_onnx_memory(model, format_name, settings).total_bytes
            measured = found.peak_memory.peak_bytes - max(mapped, 0)
            yield Row(name, format_name, context, "F32", predicted, measured, {})


def _measured(runtime, file: Path, settings: RunSettings) -> RawMeasurement:
    """One pass over a full context, the one that warms up where speed is measured."""
    return runtime.measure(
        file,
        settings,
        divergence_text(),
        depths=[settings.context - WRITTEN - 1],
        decode_tokens=WRITTEN,
        repeats=0,
    )


def _buffers(estimate: MemoryEstimate, found: RawMeasurement) -> dict[str, tuple[int, int]]:
    predicted = {
        "weights": estimate.weights_bytes,
        "kv": estimate.kv_cache_bytes,
        "compute": estimate.compute_bytes,
        "output": estimate.output_bytes,
    }
    return {name: (size, found.buffer_bytes[name]) for name, size in predicted.items()}


def _errors(rows: list[Row]) -> Table:
    """Median and worst error of the peak, by model and runtime."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        runtime = "ONNX Runtime" if row.format.startswith("onnx") else "llama.cpp"
        groups[row.model, runtime].append(row)
        groups["all", runtime].append(row)
    table = Table("model", "runtime", box=None)
    for name in ("rows", "median error %", "worst error %"):
        table.add_column(name, justify="right")
    table.add_column("where it is worst")
    for (model, runtime), group in groups.items():
        worst = max(group, key=lambda row: abs(row.error_percent))
        median = statistics.median(abs(row.error_percent) for row in group)
        table.add_row(
            model, runtime, str(len(group)), f"{median:.1f}", f"{worst.error_percent:+.1f}",
            f"{worst.format}, {worst.context}, {worst.cache}",
        )  # fmt: skip
    return table


def _agreement(rows: list[Row]) -> Table:
    """How far each buffer is from llama.cpp's own report: in bytes beyond its rounding, and in
    percent."""
    table = Table("model", box=None)
    for name in ("weights", "kv", "output"):
        table.add_column(f"{name}: bytes beyond rounding", justify="right")
    table.add_column("compute: worst %", justify="right")
    for model in dict.fromkeys(row.model for row in rows):
        pairs = [row.buffers for row in rows if row.model == model and row.buffers]
        cells = []
        for name, reports in (("weights", 1), ("kv", 2), ("output", 1)):
            off = max(abs(pair[name][0] - pair[name][1]) for pair in pairs)
            cells.append(f"{max(0, off - round(reports * REPORTED_TO_BYTES)):,}")
        ratios = [pair["compute"][0] / pair["compute"][1] - 1 for pair in pairs]
        table.add_row(model, *cells, f"{100 * max(ratios, key=abs):+.2f}")
    return table


if __name__ == "__main__":
    main()
