"""Measure how fast this machine's kernels are, so that the planner predicts instead of guessing.

Random models are timed in the real runtime: one of a few wide layers for each tensor type (its
time is the type's kernel), and two narrow ones of different depth (their difference is what a
layer costs beside its weights). Nothing of the user's model is needed.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.folders import scratch_folder
from edgecomp.devices.kernel_rates import KernelRate, KernelRates
from edgecomp.formats.presets import PRESETS
from edgecomp.measure.kernel_timing import (
    ATTENTIVE,
    DEEP,
    NARROW,
    NARROW_LAYERS,
    ONE,
    REPEATS,
    SHALLOW,
    WIDE_LAYERS,
    attention_rates,
    decode_times,
    fixed_costs,
    kernel_rate,
    token_seconds,
)
from edgecomp.measure.synthetic_model import SyntheticShape, repeat_first_layer, write_synthetic
from edgecomp.models.gguf.header import read_gguf_header
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.protocol import TimedRun

MEASURED_TYPES = (
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_XS",
    "IQ4_NL", "Q3_K", "Q2_K", "IQ3_S",
)  # fmt: skip
BATCH, MICRO_BATCH = 256, 512
COPY_BYTES = 2**27
MATRIX_ROWS = 1536


def calibrate(processor: str, threads: int, progress: Progress = ignore_progress) -> KernelRates:
    """Time this machine's kernels in llama.cpp: about half a minute, in which it must be otherwise
    idle."""
    runtime = LlamaCpp()
    steps = len(MEASURED_TYPES) + 3
    with scratch_folder() as folder:
        layer_seconds, fixed_seconds = _fixed_costs(runtime, folder, threads)
        progress(1, steps)
        attention = _attention(runtime, folder, threads)
        progress(2, steps)
        kernels = {}
        write_synthetic(folder / "one.gguf", ONE)
        for index, kind in enumerate(MEASURED_TYPES):
            fixed = WIDE_LAYERS * layer_seconds + fixed_seconds
            kernels[kind] = _kernel(runtime, folder, threads, kind, fixed)
            progress(3 + index, steps)
        memory = runtime.measure_idle()
    result = KernelRates(
        processor=processor,
        threads=threads,
        runtime=f"{runtime.name}, {runtime.version()}",
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        kernels=kernels,
        layer_seconds=layer_seconds,
        token_seconds=fixed_seconds,
        decode_attention_per_second=attention[0],
        prefill_attention_per_second=attention[1],
        worker_bytes=memory.peak_bytes,
        memory_bytes_per_second=_copy_rate(threads),
        float_operations_per_second=_product_rate(),
    )
    progress(steps, steps)
    return result


def _pace(
    runtime: LlamaCpp, path: Path, threads: int, depths: Sequence[int]
) -> list[list[TimedRun]]:
    return decode_times(runtime, path, threads, depths, MICRO_BATCH)


def _fixed_costs(runtime: LlamaCpp, folder: Path, threads: int) -> tuple[float, float]:
    """Seconds a layer and a token."""
    seconds = []
    for layers in NARROW_LAYERS:
        path = folder / f"narrow-{layers}.gguf"
        write_synthetic(path, NARROW.model_copy(update={"layers": layers}))
        seconds.append(token_seconds(_pace(runtime, path, threads, [SHALLOW])[0]))
    return fixed_costs(seconds)


def _quantize(
    runtime: LlamaCpp, folder: Path, threads: int, kind: str, shape: SyntheticShape = ONE
) -> tuple[Path, float]:
    """A model of WIDE_LAYERS of this shape whose matrices are of one type, from the file of one
    layer in the folder, and the seconds that this layer took to make."""
    source, made = folder / "one.gguf", folder / "made.gguf"
    preset = next(row.name for row in PRESETS.values() if row.base == kind)
    names = [t.name for t in read_gguf_header(source).tensors if len(t.shape) > 1]
    began = time.perf_counter()
    runtime.quantize(
        source, made, Types(preset=preset, overrides=dict.fromkeys(names, kind)), threads=threads
    )
    seconds = time.perf_counter() - began
    wide = folder / "wide.gguf"
    repeat_first_layer(made, wide, shape.model_copy(update={"layers": WIDE_LAYERS}))
    return wide, seconds


def _kernel(
    runtime: LlamaCpp,
    folder: Path,
    threads: int,
    kind: str,
    fixed_seconds: float,
) -> KernelRate:
    path, made_seconds = _quantize(runtime, folder, threads, kind)
    shallow, batch = _pace(runtime, path, threads, [SHALLOW, BATCH])
    rate = kernel_rate(kind, shallow, batch, BATCH, fixed_seconds)
    if TENSOR_TYPES[kind].is_float:
        return rate
    made = ONE.layer_weights / made_seconds
    return rate.model_copy(update={"quantize_weights_per_second": made})


def _attention(runtime: LlamaCpp, folder: Path, threads: int) -> tuple[float, float]:
    write_synthetic(folder / "one.gguf", ATTENTIVE)
    path, _ = _quantize(runtime, folder, threads, "Q4_0", ATTENTIVE)
    return attention_rates(*_pace(runtime, path, threads, [SHALLOW, DEEP // 2, DEEP]))


def _copy_rate(threads: int) -> float:
    sources = [np.ones(COPY_BYTES // 8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            began = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            best = max(best, 2 * COPY_BYTES * threads / (time.perf_counter() - began))
    return best


def _product_rate() -> float:
    matrix = np.random.default_rng(0).standard_normal((MATRIX_ROWS, MATRIX_ROWS), dtype=np.float32)
    best = 0.0
    for _ in range(REPEATS):
        began = time.perf_counter()
        matrix @ matrix
        best = max(best, 2 * MATRIX_ROWS**3 / (time.perf_counter() - began))
    return best
