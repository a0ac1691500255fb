"""Predicted speed and peak memory beside measured ones, in both runtimes, on this machine.

Calibrates first, then measures each model's formats and a mixture of types at depths 128 to 8,192.
Run it on an otherwise idle machine: `make bench`. The models are the demo and those
named, or in the folder `EDGECOMP_MODELS`.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from edgecomp.common.errors import EdgecompError
from edgecomp.devices.detect import detect_device
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.exporting import find_exporter, find_onnx_exporter
from edgecomp.formats.format_facts import format_facts
from edgecomp.formats.layered_weights import LayeredWeights, layered_weights
from edgecomp.formats.onnx_facts import onnx_facts
from edgecomp.measure.calibrate_here import calibrate_here
from edgecomp.measure.kernel_timing import prefill_seconds, token_seconds
from edgecomp.measure.latency import summarise_measurement
from edgecomp.measure.machine import machine_state
from edgecomp.models.reading import read_model
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import usable_types
from edgecomp.planning.memory import estimate_memory
from edgecomp.planning.onnx_candidates import ONNX_MICRO_BATCH
from edgecomp.planning.onnx_memory import estimate_onnx_memory
from edgecomp.planning.placement import Placement
from edgecomp.planning.speed import SpeedEstimate, estimate_speed, load_of
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp import runtime as llama_cpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.onnx import runtime as onnx
from edgecomp.runtimes.protocol import Runtime, Timing

FORMATS = ("Q8_0", "Q4_K_M")
MIXED = ("IQ4_NL", "Q6_K", "Q8_0", "Q5_0", "Q4_K", "Q4_0")
"""What a mixture's matrices take in turn, where their rows are long enough."""

ONNX_FORMATS = ("onnx-int8", "onnx-int4-32")
DEPTHS, DEEP = (128, 1024, 4096, 8192), 2048
"""Deeper than DEEP one repeat counts: a prompt of 8,192 takes minutes."""

MEMORY_DEPTHS = (128, 512, 1024)
DECODE_TOKENS, REPEATS = 32, 3
CONTEXT = max(DEPTHS) + DECODE_TOKENS + 8
TEXT = "The river was low that summer, and the boats lay on the sand. " * 40


class Artifact(NamedTuple):
    """One made file, and what is predicted of it."""

    name: str
    file: Path
    settings: RunSettings
    weights: LayeredWeights
    memory_bytes: Callable[[RunSettings], int]


class Figures(NamedTuple):
    """Tokens a second."""

    decode: float
    prefill: float


class Row(NamedTuple):
    artifact: str
    depth: int
    predicted: SpeedEstimate
    measured: Figures


def main(models: Sequence[str]) -> None:
    """Print the tables."""
    console = Console(width=120, highlight=False)
    for runtime, artifacts in ((llama_cpp, _llama_artifacts), (onnx, _onnx_artifacts)):
        rates = calibrate_here(runtime.name)
        device = detect_device()
        console.print(f"{device.title}, {rates.runtime}, load {machine_state().load_before:.2f}")
        rows, memory = [], []
        for model in map(read_model, models):
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    for artifact in artifacts(model, device, Path(scratch)):
                        found = list(_measured(runtime, model, device, artifact))
                        rows += found
                        memory.append(_memory(runtime, artifact))
                        console.print(_table(found))
                except EdgecompError as error:
                    console.print(f"{model.name}: {error}")
        console.print(*_summary(rows), sep="\n")
        console.print(*memory, sep="\n")
    console.print(f"Tokens a second; medians of {REPEATS} repeats, deeper than {DEEP} of one.")


def _llama_artifacts(model: ModelSpec, device: DeviceProfile, scratch: Path) -> Iterator[Artifact]:
    base, file = scratch / "base.gguf", scratch / "made.gguf"
    find_exporter("gguf").export(model, base, "F16")
    facts = {row.name: row.weights for row in format_facts(model)}
    worker = device.kernel_rates.worker_bytes if device.kernel_rates else None
    threads = device.cpu.cores
    settings = RunSettings(context=CONTEXT, threads=threads)
    matrices = [t for t in model.tensors if len(t.shape) == 2]
    mixed = {}
    for place, tensor in enumerate(matrices):
        usable = usable_types(MIXED, tensor.shape[-1])
        mixed[tensor.name] = usable[place % len(usable)]
    kept = {t.name: "F32" for t in model.tensors if t.name not in mixed}
    makes = [(name, Types(preset=name), facts[name]) for name in FORMATS]
    mixture = Types(preset="Q8_0", overrides=mixed)
    makes.append(("mixture", mixture, layered_weights(model, {**kept, **mixed})))
    for name, types, weights in makes:
        llama_cpp.quantize(base, file, types, threads=threads)
        stored = weights.stored_bytes

        def memory(asked: RunSettings, stored: int = stored) -> int:
            return estimate_memory(model, stored, asked, worker).total_bytes

        yield Artifact(f"{model.name} {name}", file, settings, weights, memory)


def _onnx_artifacts(model: ModelSpec, device: DeviceProfile, scratch: Path) -> Iterator[Artifact]:
    facts = {row.name: row.weights for row in onnx_facts(model)}
    settings = RunSettings(
        context=CONTEXT,
        threads=device.cpu.cores,
        kv_type="F32",
        micro_batch=ONNX_MICRO_BATCH,
    )
    for name in ONNX_FORMATS:
        find_onnx_exporter().export_format(model, scratch / name, name)

        def memory(asked: RunSettings, name: str = name) -> int:
            return estimate_onnx_memory(model, name, asked).total_bytes

        yield Artifact(f"{model.name} {name}", scratch / name, settings, facts[name], memory)


def _measured(
    runtime: Runtime, model: ModelSpec, device: DeviceProfile, artifact: Artifact
) -> Iterator[Row]:
    known = device.model_copy(update={"kernel_rates": device.kernel_rates_in(runtime.name)})
    for depth in (depth for depth in DEPTHS if depth <= model.context_length):
        repeats = REPEATS if depth <= DEEP else 1
        timing = Timing(depths=(depth,), decode_tokens=DECODE_TOKENS, repeats=repeats)
        (runs,) = runtime.time_decode(artifact.file, artifact.settings, timing)
        predicted = estimate_speed(
            model,
            artifact.weights,
            known,
            Placement(),
            load_of(artifact.settings, depth),
            every_logit=runtime is onnx,
        )
        measured = Figures(1 / token_seconds(runs), depth / prefill_seconds(runs))
        yield Row(artifact.name, depth, predicted, measured)


def _memory(runtime: Runtime, artifact: Artifact) -> str:
    """Peak memory as a report measures it: three depths, one after the other in one process."""
    settings = artifact.settings.model_copy(update={"context": MEMORY_DEPTHS[-1] + 64})
    timing = Timing(depths=MEMORY_DEPTHS, decode_tokens=DECODE_TOKENS, repeats=1)
    raw = runtime.measure(artifact.file, settings, TEXT, timing)
    real = summarise_measurement(raw, settings, runtime.name, machine_state()).peak_memory_bytes
    guess = artifact.memory_bytes(settings)
    return (
        f"{artifact.name}: {guess / 1e6:.0f} MB predicted, {real / 1e6:.0f} measured "
        f"({100 * (guess / real - 1):+.1f} %)"
    )


def _table(rows: Sequence[Row]) -> Table:
    table = Table("artifact", "depth", box=None)
    for quantity in ("decode", "prefill"):
        for name in (f"{quantity} predicted", "9 of 10", "measured", "error %"):
            table.add_column(name, justify="right")
    for row in rows:
        cells = []
        for guess, interval, real in _figures(row):
            span = f"{interval[0]:.0f}-{interval[1]:.0f}" if interval else ""
            cells += [f"{guess:.1f}", span, f"{real:.1f}", f"{100 * (guess / real - 1):+.1f}"]
        table.add_row(row.artifact, str(row.depth), *cells)
    return table


def _figures(row: Row) -> Iterator[tuple[float, tuple[float, float] | None, float]]:
    """Predicted, its interval, and measured: decode, then prefill."""
    speed = row.predicted
    yield speed.decode_tokens_per_second, speed.decode_interval, row.measured.decode
    yield speed.prefill_tokens_per_second, speed.prefill_interval, row.measured.prefill


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    for quantity, figures in zip(
        ("decode", "prefill"), zip(*map(_figures, rows), strict=True), strict=True
    ):
        errors = [abs(guess / real - 1) for guess, _, real in figures]
        held = sum(bool(i and i[0] <= real <= i[1]) for _, i, real in figures)
        yield (
            f"{quantity}: {100 * statistics.median(errors):.1f} % off in the median, "
            f"{100 * max(errors):.1f} % at worst, {held} of {len(errors)} within their interval"
        )


def _models() -> list[str]:
    folder = os.environ.get("EDGECOMP_MODELS")
    found = sorted(Path(folder).glob("*.gguf")) if folder else []
    return ["demo", *map(str, found)]


if __name__ == "__main__":
    main(sys.argv[1:] or _models())
