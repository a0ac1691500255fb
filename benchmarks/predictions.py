"""Predicted peak memory and decode speed beside measured ones, on this machine's demo model.

Calibrates first, then measures every format and context of the grid in the real runtime. Run it on
an otherwise idle machine: `make bench`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgecomp.detect import calibrate_here, detect_device
from edgecomp.exporting import find_exporter
from edgecomp.format_facts import tensor_types_of
from edgecomp.layered_weights import layered_weights
from edgecomp.measure.latency import summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.memory import estimate_memory
from edgecomp.model import read_model
from edgecomp.placement import Placement
from edgecomp.runtimes.llama_cpp import runtime
from edgecomp.runtimes.settings import RunSettings
from edgecomp.speed import estimate_speed

FORMATS = ("Q8_0", "Q4_K_M", "Q4_0", "Q3_K_M")
CONTEXTS = (512, 2048, 8192)
DECODE_TOKENS, REPEATS = 48, 3
DEEPEST = 2000
"""Tokens read before decoding: a full context of 8192 would take minutes for each row."""
TEXT = "The river was low that summer, and the boats lay on the sand. " * 40


def main() -> None:
    """Print the table."""
    console = Console(width=140, highlight=False)
    calibration = calibrate_here("llama.cpp")
    device = detect_device()
    state = machine_state()
    console.print(f"{device.title}, {calibration.runtime}, load before {state.load_before}")
    table = Table("format", "context", "depth", box=None)
    for name in (
        "memory predicted", "measured", "error %", "decode predicted", "measured", "error %",
        "prefill predicted", "measured", "error %",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    worst = {"memory": 0.0, "decode": 0.0, "prefill": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = read_model("demo")
        base = folder / "base.gguf"
        find_exporter("gguf").export(model, base, "F16")
        for format_name in FORMATS:
            file = folder / f"{format_name}.gguf"
            runtime.quantize(
                base, file, format_name, threads=device.cpu.cores, overrides={}, importance=None
            )
            types = tensor_types_of(model, format_name, importance=False)
            weights = layered_weights(model, types)
            for context in CONTEXTS:
                settings = RunSettings(context=context, threads=device.cpu.cores)
                depth = min(context - DECODE_TOKENS - 1, DEEPEST)
                raw = runtime.measure(
                    file, settings, TEXT, depths=[depth], decode_tokens=DECODE_TOKENS,
                    repeats=REPEATS,
                )  # fmt: skip
                measured = summarise_measurement(raw, settings, runtime.name, state)
                memory = estimate_memory(
                    model, weights.stored_bytes, settings, calibration.worker_bytes
                )
                speed = estimate_speed(
                    model, weights, device, Placement(), depth=depth, prompt_tokens=depth
                )
                row = measured.depths[0]
                pairs = {
                    "memory": (memory.total_bytes / 1e6, measured.peak_memory_bytes / 1e6),
                    "decode": (
                        speed.decode_tokens_per_second,
                        row.decode_tokens_per_second.median,
                    ),
                    "prefill": (
                        speed.prefill_tokens_per_second,
                        row.prefill_tokens_per_second.median,
                    ),
                }
                cells = []
                for quantity, (predicted, real) in pairs.items():
                    error = 100 * (predicted / real - 1)
                    worst[quantity] = max(worst[quantity], abs(error))
                    cells += [f"{predicted:.1f}", f"{real:.1f}", f"{error:+.1f}"]
                table.add_row(format_name, str(context), str(depth), *cells)
    console.print(table)
    console.print("Memory in MB, speeds in tok/s; medians of", REPEATS, "repeats after a warm-up.")
    console.print("Worst errors:", ", ".join(f"{k} {v:.1f} %" for k, v in worst.items()))


if __name__ == "__main__":
    main()
