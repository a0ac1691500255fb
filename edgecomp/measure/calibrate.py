"""Measure how fast this machine's kernels are, so that the planner predicts instead of guessing.

Random models are timed in the real runtime: one of a few wide layers for each tensor type (its
time is the type's kernel), some of unlike depth and width (what a layer and a matrix's row cost
beside products), and one of many heads at several depths (attention). Nothing of the user's model
is needed.
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
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.formats.cache_types import CACHE_CHOICES
from edgecomp.formats.presets import PRESETS
from edgecomp.measure.kernel_timing import DEEP, WIDE, Asked, decode_times
from edgecomp.measure.runtime_rates import Timed, time_runtime
from edgecomp.measure.synthetic_model import (
    SyntheticShape,
    matrix_types,
    repeat_first_layer,
    write_synthetic,
)
from edgecomp.measure.whole_models import LARGER, SMALL, WholeModel, WholeModelTimes
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.llama_cpp.client import LlamaCpp
from edgecomp.runtimes.llama_cpp.types_to_make import Types
from edgecomp.runtimes.protocol import TimedRun

MEASURED_TYPES = (
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_XS",
    "IQ4_NL", "Q3_K", "Q2_K", "IQ3_S",
)  # fmt: skip
TIMED = Timed(
    types=MEASURED_TYPES,
    fixed_types=("Q4_0", "Q5_0"),
    batch_tokens=256,
    micro_batch=512,
    every_logit=False,
    whole=(
        WholeModel(shape=SMALL, kinds=("IQ4_NL", "Q8_0", "Q5_0", "Q4_0", "Q4_0")),
        WholeModel(shape=LARGER, kinds=("Q4_K", "Q6_K", "Q5_K", "IQ4_XS", "Q4_K")),
    ),
    cache_types=CACHE_CHOICES[1:],
)
COPY_BYTES, COPIES = 2**27, 3
MATRIX_ROWS = 1536


def calibrate(
    processor: str, threads: int, progress: Progress = ignore_progress
) -> tuple[KernelRates, list[WholeModelTimes]]:
    """Time this machine's kernels in llama.cpp, and whole models beside them: some minutes, in
    which it must be otherwise idle."""
    runtime = LlamaCpp()
    settings = RunSettings(context=DEEP, threads=threads, micro_batch=TIMED.micro_batch)
    quantize_seconds: dict[str, float] = {}
    with scratch_folder() as folder:

        def time_model(asked: Asked) -> list[list[TimedRun]]:
            one = folder / f"{asked.shape.width}-{'-'.join(asked.kinds)}.gguf"
            if not one.exists():
                seconds = _quantize_layer(runtime, one, threads, asked.kinds, asked.shape)
                if asked.shape == WIDE:
                    quantize_seconds[asked.kinds[0]] = seconds
            path = folder / "whole.gguf"
            repeat_first_layer(one, path, asked.shape)
            return decode_times(runtime, path, settings, asked)

        found = time_runtime(TIMED, time_model, progress)
        memory = runtime.measure_idle()
    kernels = {
        kind: kernel
        if TENSOR_TYPES[kind].is_float
        else kernel.model_copy(
            update={"quantize_weights_per_second": WIDE.layer_weights / quantize_seconds[kind]}
        )
        for kind, kernel in found.kernels.items()
    }
    rates = KernelRates(
        **found._replace(kernels=kernels).fields,
        processor=processor,
        threads=threads,
        runtime=f"{runtime.name}, {runtime.version()}",
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        worker_bytes=memory.peak_bytes,
        memory_bytes_per_second=_copy_rate(threads),
        float_operations_per_second=_product_rate(),
    )
    return rates, found.whole


def _quantize_layer(
    runtime: LlamaCpp, destination: Path, threads: int, kinds: Sequence[str], shape: SyntheticShape
) -> float:
    """Make a model of one layer of `shape`, whose matrices take `kinds` in turn; returns the
    seconds that quantizing took."""
    one = shape.model_copy(update={"layers": 1})
    source = destination.with_name("float.gguf")
    write_synthetic(source, one)
    preset = next(row.name for row in PRESETS.values() if row.base == kinds[0])
    types = {name: kind for name, kind in matrix_types(one, kinds).items() if kind != "F32"}
    began = time.perf_counter()
    runtime.quantize(source, destination, Types(preset=preset, overrides=types), threads=threads)
    return time.perf_counter() - began


def _copy_rate(threads: int) -> float:
    sources = [np.ones(COPY_BYTES // 8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(COPIES):
            began = time.perf_counter()
            list(pool.map(np.copyto, targets, sources))
            best = max(best, 2 * COPY_BYTES * threads / (time.perf_counter() - began))
    return best


def _product_rate() -> float:
    matrix = np.random.default_rng(0).standard_normal((MATRIX_ROWS, MATRIX_ROWS), dtype=np.float32)
    best = 0.0
    for _ in range(COPIES):
        began = time.perf_counter()
        matrix @ matrix
        best = max(best, 2 * MATRIX_ROWS**3 / (time.perf_counter() - began))
    return best
