"""Timings of random models that stand for kernels: what all calibrations have in common."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgecomp.devices.kernel_rates import CacheTimes, KernelRate
from edgecomp.measure.synthetic_model import SyntheticShape
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import TimedRun, Timing
from edgecomp.runtimes.worker_client import WorkerRuntime

WIDE = SyntheticShape(
    layers=8, width=1024, feed_forward=3072, heads=16, kv_heads=4, vocabulary=256, context=4096
)
ATTENTIVE = WIDE.model_copy(update={"width": 256, "feed_forward": 256, "head_size": 64})
"""As many heads and few weights, so that most of a long prompt's time is attention's."""

NARROW = SyntheticShape(
    layers=8, width=128, feed_forward=256, heads=4, kv_heads=2, vocabulary=256, context=1024
)
FIXED_SHAPES = (
    NARROW,
    NARROW.model_copy(update={"layers": 40}),
    NARROW.model_copy(
        update={"layers": 16, "width": 576, "feed_forward": 1536, "heads": 9, "kv_heads": 3}
    ),
    NARROW.model_copy(
        update={"layers": 3, "width": 2048, "feed_forward": 8192, "heads": 32, "kv_heads": 8}
    ),
)
"""Of unlike shares of layers, rows and weights, so that each one's time can be told."""

SHALLOW, SHARED, DEEP = 16, 512, 3072
"""Depths. At the second, attention is shared out among the threads where a runtime does that."""

CACHE_DEPTHS = (SHALLOW, 768, 1536)
ATTENTION_DEPTHS = (SHALLOW, SHARED, DEEP // 2, DEEP)
DECODE_TOKENS = 24


class Asked(NamedTuple):
    """What is timed of a model of random weights whose matrices take `kinds` in turn."""

    shape: SyntheticShape
    kinds: Sequence[str]
    depths: Sequence[int]
    repeats: int
    kv_type: str | None = None
    """None: the runtime's own floats."""


TimeModel = Callable[[Asked], list[list[TimedRun]]]
"""Repeated timings at each depth."""


class TokenTimes(NamedTuple):
    """Seconds of a model or a layer, without attention's: of a decoded token, and of a token of a
    batch."""

    decode: float
    batch: float


class FixedCosts(NamedTuple):
    """What is no product, in seconds: of a layer and a token while decoding, and of a row of a
    matrix in a decoded token and in a token of a batch."""

    layer: float
    token: float
    decode_row: float
    batch_row: float


class AttentionRates(NamedTuple):
    """Elements a second while decoding and while a prompt is read, and seconds an element that a
    decoded token takes more where attention is shared out."""

    decode: float
    prefill: float
    shared_seconds: float


def token_seconds(runs: Sequence[TimedRun]) -> float:
    """Seconds a decoded token: the median of all, as a measured run tells it."""
    return statistics.median(seconds for run in runs for seconds in run.token_seconds)


def prefill_seconds(runs: Sequence[TimedRun]) -> float:
    """Seconds of a prompt: the median repeat's."""
    return statistics.median(run.prefill_seconds for run in runs)


def decode_times(
    runtime: WorkerRuntime, path: Path, settings: RunSettings, asked: Asked
) -> list[list[TimedRun]]:
    """Repeated timings at each depth of the model at `path`, in a context that holds them."""
    depths = tuple(asked.depths)
    update = {"context": max(depths) + DECODE_TOKENS + 8}
    kv_type = {"kv_type": asked.kv_type} if asked.kv_type else {}
    return runtime.time_decode(
        path,
        settings.model_copy(update={**update, **kv_type}),
        Timing(depths=depths, decode_tokens=DECODE_TOKENS, repeats=asked.repeats),
    )


def attention_rates(times: Sequence[Sequence[TimedRun]]) -> AttentionRates:
    """From an ATTENTIVE model at ATTENTION_DEPTHS: a deeper context adds attention alone."""
    shallow, shared, middle, deep = times
    row = ATTENTIVE.attention_elements * ATTENTIVE.layers
    begun = token_seconds(shared) - token_seconds(shallow)
    slope = (token_seconds(deep) - token_seconds(shared)) / (DEEP - SHARED)
    whole = (token_seconds(deep) - token_seconds(shallow)) / (DEEP - SHALLOW)
    # Noise must not make a deep context free.
    element = max(slope, 0.5 * whole, 1e-10) / row
    pairs = prompt_pairs(DEEP) - 2 * prompt_pairs(DEEP // 2)
    return AttentionRates(
        decode=1 / element,
        prefill=row * pairs / max(_prompt_attention(middle, deep), 1e-4),
        shared_seconds=max(begun / row - (SHARED - SHALLOW) * element, 0.0),
    )


def cache_times(
    plain: Sequence[Sequence[TimedRun]], coarse: Sequence[Sequence[TimedRun]]
) -> CacheTimes:
    """From an attentive model at CACHE_DEPTHS with a cache of F16, and with one of a type: what a
    deeper context adds to either."""
    (decode, prefill), (slower, longer) = _added(plain), _added(coarse)
    return CacheTimes(decode=max(slower / decode, 0.1), prefill=max(longer / prefill, 0.1))


def _added(times: Sequence[Sequence[TimedRun]]) -> tuple[float, float]:
    shallow, middle, deep = times
    decode = token_seconds(deep) - token_seconds(shallow)
    return max(decode, 1e-6), max(_prompt_attention(middle, deep), 1e-5)


def _prompt_attention(half: Sequence[TimedRun], whole: Sequence[TimedRun]) -> float:
    """Twice the tokens cost twice the weights' time; what is over is attention's."""
    return prefill_seconds(whole) - 2 * prefill_seconds(half)


def token_times(
    shape: SyntheticShape,
    decoded: Sequence[TimedRun],
    batch: Sequence[TimedRun],
    batch_tokens: int,
    attention: AttentionRates,
) -> TokenTimes:
    """Of a model of `shape` that decoded at SHALLOW and that read a batch."""
    elements = shape.layers * shape.attention_elements
    attended = elements * prompt_pairs(batch_tokens) / attention.prefill
    return TokenTimes(
        token_seconds(decoded) - elements * SHALLOW / attention.decode,
        max((prefill_seconds(batch) - attended) / batch_tokens, 1e-9),
    )


def fixed_costs(
    times: Sequence[tuple[SyntheticShape, TokenTimes]], *, every_logit: bool
) -> FixedCosts:
    """From the times of models of FIXED_SHAPES, all of one type: the costs of a token, a layer, a
    row and a weight that come closest to them, none of them negative."""
    token, layer, decode_row, _ = _closest(
        [(1, s.layers, s.decode_rows, s.decode_weights) for s, _ in times],
        [found.decode for _, found in times],
    )
    batch_row, _ = _closest(
        [
            (s.batch_rows(every_logit=every_logit), s.batch_weights(every_logit=every_logit))
            for s, _ in times
        ],
        [found.batch for _, found in times],
    )
    return FixedCosts(max(layer, 1e-7), max(token, 1e-6), decode_row, batch_row)


def _closest(amounts: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """The cost of one of each amount, so that the sums' relative errors are least."""
    # The app finds this module and must not wait for scipy.
    from scipy.optimize import nnls

    target = np.array(seconds)
    rows = np.array(amounts, dtype=float) / target[:, None]
    # Costs are told apart by columns of like size.
    scale = rows.max(axis=0)
    costs, _ = nnls(rows / scale, np.ones(len(target)))
    return [float(cost) for cost in costs / scale]


def kernel_rate(kind: str, wide: TokenTimes, fixed: FixedCosts, *, every_logit: bool) -> KernelRate:
    """The rates of a tensor type, from the times of a WIDE model of it."""
    beside = WIDE.layers * fixed.layer + fixed.token + WIDE.decode_rows * fixed.decode_row
    batch_rows = WIDE.batch_rows(every_logit=every_logit) * fixed.batch_row
    products = WIDE.batch_weights(every_logit=every_logit)
    return KernelRate(
        decode_bytes_per_second=TENSOR_TYPES[kind].size_bytes(WIDE.decode_weights)
        / max(wide.decode - beside, 0.1 * wide.decode),
        prefill_products_per_second=products / max(wide.batch - batch_rows, 0.1 * wide.batch),
    )


def typical(rounds: Sequence[TokenTimes]) -> TokenTimes:
    """The median of several rounds, some time apart, on a machine that is uneven."""
    return TokenTimes(
        statistics.median(t.decode for t in rounds), statistics.median(t.batch for t in rounds)
    )
