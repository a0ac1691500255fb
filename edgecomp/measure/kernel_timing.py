"""Timings of random models that stand for kernels: what all calibrations have in common."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from edgecomp.devices.kernel_rates import KernelRate
from edgecomp.measure.synthetic_model import SyntheticShape
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import TimedRun, Timing
from edgecomp.runtimes.worker_client import WorkerRuntime

ONE = SyntheticShape(
    layers=1, width=1024, feed_forward=3072, heads=16, kv_heads=4, vocabulary=256, context=4096
)
WIDE_LAYERS = 8
ATTENTIVE = ONE.model_copy(update={"width": 256, "feed_forward": 256, "head_size": 64})
"""As many heads and few weights, so that most of a long prompt's time is attention's."""

NARROW = SyntheticShape(
    layers=4, width=256, feed_forward=768, heads=4, kv_heads=2, vocabulary=256, context=1024
)
NARROW_LAYERS = (8, 40)
SHALLOW, DEEP = 16, 1536
DECODE_TOKENS, REPEATS = 24, 3


def token_seconds(runs: Sequence[TimedRun]) -> float:
    """Seconds a decoded token: the quickest repeat's median, since noise only ever adds."""
    return min(statistics.median(run.token_seconds) for run in runs)


def prefill_seconds(runs: Sequence[TimedRun]) -> float:
    """Seconds of a prompt: the median repeat's. A long prompt meets the machine's usual noise."""
    return statistics.median(run.prefill_seconds for run in runs)


def decode_times(
    runtime: WorkerRuntime, path: Path, threads: int, depths: Sequence[int], micro_batch: int
) -> list[list[TimedRun]]:
    """Repeated timings at each depth."""
    settings = RunSettings(
        context=max(depths) + DECODE_TOKENS + 8, threads=threads, micro_batch=micro_batch
    )
    return runtime.time_decode(
        path, settings, Timing(depths=tuple(depths), decode_tokens=DECODE_TOKENS, repeats=REPEATS)
    )


def fixed_costs(shallow_seconds: Sequence[float]) -> tuple[float, float]:
    """Seconds a layer and a token, from the token times of narrow models of NARROW_LAYERS, whose
    weights hardly count."""
    layer = (shallow_seconds[1] - shallow_seconds[0]) / (NARROW_LAYERS[1] - NARROW_LAYERS[0])
    return max(layer, 1e-7), max(shallow_seconds[0] - NARROW_LAYERS[0] * layer, 1e-6)


def kernel_rate(
    kind: str,
    decoded: Sequence[TimedRun],
    batch: Sequence[TimedRun],
    batch_tokens: int,
    fixed_seconds: float,
) -> KernelRate:
    """The rates of a tensor type, from a wide model of it that decoded a token, `fixed_seconds` of
    it beside the matrices, and that read a batch."""
    weights = WIDE_LAYERS * ONE.layer_weights
    seconds = token_seconds(decoded)
    matrix_seconds = max(seconds - fixed_seconds, 0.1 * seconds)
    return KernelRate(
        decode_bytes_per_second=TENSOR_TYPES[kind].size_bytes(weights) / matrix_seconds,
        prefill_products_per_second=weights * batch_tokens / prefill_seconds(batch),
    )


def attention_rates(
    shallow: Sequence[TimedRun], middle: Sequence[TimedRun], deep: Sequence[TimedRun]
) -> tuple[float, float]:
    """Elements a second of decode and prefill attention, from the time a deeper context adds to an
    ATTENTIVE model of WIDE_LAYERS; `middle` is half as deep as DEEP."""
    row = 2 * ATTENTIVE.heads * ATTENTIVE.head_length * WIDE_LAYERS
    decode = row * (DEEP - SHALLOW) / max(token_seconds(deep) - token_seconds(shallow), 1e-6)
    # Twice the tokens cost twice the weights' time; what is over is attention's.
    extra = prefill_seconds(deep) - 2 * prefill_seconds(middle)
    pairs = prompt_pairs(DEEP) - 2 * prompt_pairs(DEEP // 2)
    return decode, row * pairs / max(extra, 1e-4)
