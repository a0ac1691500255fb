"""Predicted peak memory and speed beside measured ones, in both runtimes, on this machine's demo.

Calibrates first, then measures every format and context of the grid in the real runtime. Run it on
an otherwise idle machine: `make bench`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from edgecomp.devices.detect import detect_device
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.exporting import find_exporter, find_onnx_exporter
from edgecomp.formats.format_facts import format_facts
from edgecomp.formats.onnx_facts import onnx_facts
from edgecomp.measure.calibrate_here import calibrate_here
from edgecomp.measure.latency import summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.memory import estimate_memory
from edgecomp.planning.onnx_candidates import ONNX_MICRO_BATCH
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import Load, SpeedEstimate, estimate_speed
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime as llama_cpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.onnx import runtime as onnx
from edgecomp.runtimes.protocol import Runtime, Timing

FORMATS = ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M")
CONTEXTS = (512, 2048, 8192)
ONNX_FORMATS = ("onnx-fp32", "onnx-int8", "onnx-int4-32")
ONNX_CONTEXTS = (512, 2048)
DECODE_TOKENS, REPEATS = 48, 3
DEEPEST = 2000
"""Tokens read before decoding: a full context of 8192 would take minutes for each row."""

TEXT = "The river was low that summer, and the boats lay on the sand. " * 40
QUANTITIES = ("memory", "decode", "prefill")


class Figures(NamedTuple):
    """Predicted or measured: MB, and tokens a second."""

    memory: float
    decode: float
    prefill: float


class Row(NamedTuple):
    format: str
    settings: RunSettings
    depth: int
    predicted: Figures
    measured: Figures


def main() -> None:
    """Print the tables."""
    console = Console(width=140, highlight=False)
    model = read_model("demo")
    for runtime, rows in ((llama_cpp, _llama_rows), (onnx, _onnx_rows)):
        kernel_rates = calibrate_here(runtime.name)
        device = detect_device()
        load = machine_state().load_before
        console.print(f"{device.title}, {kernel_rates.runtime}, load before {load:.2f}")
        with tempfile.TemporaryDirectory() as scratch:
            console.print(*_summary(list(rows(model, device, Path(scratch)))), sep="\n")
    console.print("Memory in MB, speeds in tok/s; medians of", REPEATS, "repeats after a warm-up.")


def _llama_rows(model: ModelSpec, device: DeviceProfile, scratch: Path) -> Iterator[Row]:
    base, file = scratch / "base.gguf", scratch / "made.gguf"
    find_exporter("gguf").export(model, base, "F16")
    facts = {row.name: row.weights for row in format_facts(model)}
    worker = device.kernel_rates.worker_bytes if device.kernel_rates else None
    for name in FORMATS:
        threads = device.cpu.cores
        llama_cpp.quantize(base, file, Types(preset=name), threads=threads)
        for context in CONTEXTS:
            settings = RunSettings(context=context, threads=threads)
            depth = min(context - DECODE_TOKENS - 1, DEEPEST)
            memory = estimate_memory(model, facts[name].stored_bytes, settings, worker)
            speed = estimate_speed(
                model, facts[name], device, Placement(), Load(depth=depth, prompt_tokens=depth)
            )
            measured = _measured(llama_cpp, file, settings, depth)
            yield Row(name, settings, depth, _predicted(memory.total_bytes, speed), measured)


def _onnx_rows(model: ModelSpec, device: DeviceProfile, scratch: Path) -> Iterator[Row]:
    own = device.model_copy(update={"kernel_rates": device.kernel_rates_in(onnx.name)})
    facts = {row.name: row.weights for row in onnx_facts(model)}
    for name in ONNX_FORMATS:
        artifact = scratch / name
        find_onnx_exporter().export_format(model, artifact, name)
        for context in ONNX_CONTEXTS:
            settings = RunSettings(
                context=context,
                threads=device.cpu.cores,
                kv_type="F32",
                micro_batch=ONNX_MICRO_BATCH,
            )
            depth = min(context - DECODE_TOKENS - 1, DEEPEST)
            memory = estimate_onnx_memory(model, name, settings)
            speed = estimate_speed(
                model,
                facts[name],
                own,
                Placement(),
                Load(depth=depth, prompt_tokens=depth, micro_batch=ONNX_MICRO_BATCH),
                every_logit=True,
            )
            measured = _measured(onnx, artifact, settings, depth)
            yield Row(name, settings, depth, _predicted(memory.total_bytes, speed), measured)


def _predicted(memory_bytes: int, speed: SpeedEstimate) -> Figures:
    return Figures(
        memory_bytes / 1e6, speed.decode_tokens_per_second, speed.prefill_tokens_per_second
    )


def _measured(runtime: Runtime, file: Path, settings: RunSettings, depth: int) -> Figures:
    raw = runtime.measure(
        file, settings, TEXT, Timing(depths=(depth,), decode_tokens=DECODE_TOKENS, repeats=REPEATS)
    )
    found = summarise_measurement(raw, settings, runtime.name, machine_state())
    row = found.depths[0]
    return Figures(
        found.peak_memory_bytes / 1e6,
        row.decode_tokens_per_second.median,
        row.prefill_tokens_per_second.median,
    )


def _summary(rows: list[Row]) -> tuple[Table, str]:
    table = Table("format", "context", "depth", box=None)
    for quantity in QUANTITIES:
        for name in (f"{quantity} predicted", "measured", "error %"):
            table.add_column(name, justify="right")
    worst = dict.fromkeys(QUANTITIES, 0.0)
    for row in rows:
        cells = []
        for quantity, guess, real in zip(QUANTITIES, row.predicted, row.measured, strict=True):
            error = 100 * (guess / real - 1)
            worst[quantity] = max(worst[quantity], abs(error))
            cells += [f"{guess:.1f}", f"{real:.1f}", f"{error:+.1f}"]
        table.add_row(row.format, str(row.settings.context), str(row.depth), *cells)
    return table, f"Worst errors: {', '.join(f'{k} {v:.1f} %' for k, v in worst.items())}"


if __name__ == "__main__":
    main()
