"""Measure how fast this machine's kernels are, so that the planner predicts instead of guessing.

Random models are timed in the real runtime: one of a few wide layers for each tensor type (its
time is the type's kernel), and two narrow ones of different depth (their difference is what a
layer costs beside its weights). Nothing of the user's model is needed.
"""

from __future__ import annotations

import datetime
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgecomp.calibrated import Calibration, KernelRate
from edgecomp.events import Progress, ignore_progress
from edgecomp.formats import PRESETS, TENSOR_TYPES
from edgecomp.gguf_header import read_gguf_header
from edgecomp.measure.synthetic_model import SyntheticShape, repeat_first_layer, write_synthetic
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.protocol import TimedRun
from edgecomp.runtimes.settings import RunSettings

MEASURED_TYPES = (
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_XS",
    "IQ4_NL", "Q3_K", "Q2_K", "IQ3_S",
)  # fmt: skip
ONE = SyntheticShape(
    layers=1, width=1024, feed_forward=3072, heads=16, kv_heads=4, vocabulary=256, context=4096
)
WIDE_LAYERS = 8
NARROW = SyntheticShape(
    layers=4, width=256, feed_forward=768, heads=4, kv_heads=2, vocabulary=256, context=1024
)
NARROW_LAYERS = (8, 40)
SHALLOW, BATCH, DEEP = 16, 256, 1536
DECODE_TOKENS, REPEATS = 24, 3
COPY_BYTES = 2**27
MATRIX_ROWS = 1536


def calibrate(processor: str, threads: int, progress: Progress = ignore_progress) -> Calibration:
    """Time this machine: about half a minute, which must be otherwise idle."""
    runtime = LlamaCpp()
    steps = len(MEASURED_TYPES) + 3
    with tempfile.TemporaryDirectory(prefix="edgecomp-calibrate-") as name:
        folder = Path(name)
        layer_seconds, token_seconds = _fixed_costs(runtime, folder, threads)
        progress(1, steps)
        write_synthetic(folder / "one.gguf", ONE)
        attention = _attention(runtime, folder, threads, layer_seconds)
        progress(2, steps)
        kernels = {}
        for index, kind in enumerate(MEASURED_TYPES):
            kernels[kind] = _kernel(runtime, folder, threads, kind, layer_seconds, token_seconds)
            progress(3 + index, steps)
        memory = runtime.measure_idle()
    result = Calibration(
        processor=processor,
        threads=threads,
        runtime=f"{runtime.name}, {runtime.version()}",
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        kernels=kernels,
        layer_seconds=layer_seconds,
        token_seconds=token_seconds,
        decode_attention_per_second=attention[0],
        prefill_attention_per_second=attention[1],
        worker_bytes=memory.peak_bytes,
        memory_bytes_per_second=_copy_rate(threads),
        float_operations_per_second=_product_rate(),
    )
    progress(steps, steps)
    return result


def _token(runs: Sequence[TimedRun]) -> float:
    """Seconds a decoded token: the quickest repeat's median, since noise only ever adds."""
    return min(statistics.median(run.token_seconds) for run in runs)


def _prefill(runs: Sequence[TimedRun]) -> float:
    return min(run.prefill_seconds for run in runs)


def _pace(
    runtime: LlamaCpp, path: Path, threads: int, depths: Sequence[int]
) -> list[list[TimedRun]]:
    settings = RunSettings(context=max(depths) + DECODE_TOKENS + 8, threads=threads)
    return runtime.pace(path, settings, depths=depths, decode_tokens=DECODE_TOKENS, repeats=REPEATS)


def _fixed_costs(runtime: LlamaCpp, folder: Path, threads: int) -> tuple[float, float]:
    """Seconds a layer and a token, from models so narrow that their weights hardly count."""
    seconds = []
    for layers in NARROW_LAYERS:
        path = folder / f"narrow-{layers}.gguf"
        write_synthetic(path, NARROW.model_copy(update={"layers": layers}))
        seconds.append(_token(_pace(runtime, path, threads, [SHALLOW])[0]))
    layer = (seconds[1] - seconds[0]) / (NARROW_LAYERS[1] - NARROW_LAYERS[0])
    return max(layer, 1e-7), max(seconds[0] - NARROW_LAYERS[0] * layer, 1e-6)


def _quantized(runtime: LlamaCpp, folder: Path, threads: int, kind: str) -> tuple[Path, float]:
    """A wide model whose matrices are of one type, and the seconds its one layer took to make."""
    source, made = folder / "one.gguf", folder / "made.gguf"
    preset = next(row.name for row in PRESETS.values() if row.base == kind)
    names = [t.name for t in read_gguf_header(source).tensors if len(t.shape) > 1]
    began = time.perf_counter()
    runtime.quantize(
        source, made, preset, threads=threads, overrides=dict.fromkeys(names, kind), importance=None
    )
    seconds = time.perf_counter() - began
    wide = folder / "wide.gguf"
    repeat_first_layer(made, wide, ONE.model_copy(update={"layers": WIDE_LAYERS}))
    return wide, seconds


def _kernel(
    runtime: LlamaCpp,
    folder: Path,
    threads: int,
    kind: str,
    layer_seconds: float,
    token_seconds: float,
) -> KernelRate:
    path, made_seconds = _quantized(runtime, folder, threads, kind)
    shallow, batch = _pace(runtime, path, threads, [SHALLOW, BATCH])
    weights = WIDE_LAYERS * ONE.layer_weights
    size = TENSOR_TYPES[kind].size_bytes(weights)
    fixed = WIDE_LAYERS * layer_seconds + token_seconds
    matrix_seconds = max(_token(shallow) - fixed, 0.1 * _token(shallow))
    return KernelRate(
        decode_bytes_per_second=size / matrix_seconds,
        prefill_products_per_second=weights * BATCH / _prefill(batch),
        quantize_weights_per_second=(
            None if TENSOR_TYPES[kind].is_float else ONE.layer_weights / made_seconds
        ),
    )


def _attention(
    runtime: LlamaCpp, folder: Path, threads: int, layer_seconds: float
) -> tuple[float, float]:
    """Elements a second of decode and prefill attention, from the time a deeper context adds."""
    path, _ = _quantized(runtime, folder, threads, "Q4_0")
    shallow, middle, deep = _pace(runtime, path, threads, [SHALLOW, DEEP // 2, DEEP])
    row = 2 * ONE.heads * ONE.head_length * WIDE_LAYERS
    decode = row * (DEEP - SHALLOW) / max(_token(deep) - _token(shallow), 1e-6)
    # Twice the tokens cost twice the weights' time; what is over is attention's.
    extra = _prefill(deep) - 2 * _prefill(middle)
    pairs = DEEP**2 / 2 - 2 * (DEEP // 2) ** 2 / 2
    return decode, row * pairs / max(extra, 1e-4)


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
