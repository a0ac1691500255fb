"""Tokens a second of a model in a format on a device: predicted from kernels, not from size alone.

Decoding a token streams every active weight once, reads the KV cache once a query head, and pays a
fixed cost a layer. Reading a prompt is bound by arithmetic. Where the device was calibrated, each
tensor type's kernel speed is measured; else `device_speed` tells what such processors take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.kernel_rates import CacheTimes, KernelRates
from edgecomp.devices.profile import DeviceProfile
from edgecomp.formats.cache_types import cache_types
from edgecomp.formats.layered_weights import LayeredWeights, Share
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.planning.device_speed import Pace, pace_of, product_seconds
from edgecomp.planning.placement import Part, Placement, parts
from edgecomp.recipes.run_settings import RunSettings

HANDOVER_SECONDS = 30e-6
"""Time to hand activations from one processor to another, with the wait for them: a guess."""

SHARED_DEPTH = 256
"""From so many tokens on llama.cpp has at least 512 entries in its cache, which it pads to whole
256, and shares each head's attention out among the threads (`ggml-cpu/ops.cpp`)."""

EVEN = CacheTimes(decode=1.0, prefill=1.0)
CACHE_TIMES = {
    "Q8_0": CacheTimes(decode=1.8, prefill=3.8),
    "Q8_0/Q4_0": CacheTimes(decode=2.9, prefill=7.2),
    "Q4_0": CacheTimes(decode=2.8, prefill=7.3),
}
"""On processors that were not calibrated: llama.cpp multiplies a float cache by blocks, and takes a
quantized one apart row by row. Measured on an AMD EPYC of 2022 with heads of 64 and 128 at depth
2,048 (2026-11-28). Cards turn it into floats first, which costs them next to nothing."""

LENT_BATCH = 32
"""From this batch on, llama.cpp copies what lies in the system's memory to a card for one use,
instead of multiplying on the CPU (`offload_op` of its GPU backends)."""

LINK_SHARE = 0.7
"""Share of the link's rate that such copies reach: a guess."""


class SpeedEstimate(FrozenModel):
    """Predicted speed at one depth. `basis`: "formula", "calibrated", or "measured" where runs
    measured here corrected the calibration."""

    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    first_token_seconds: float
    """For a prompt of `prompt_tokens`."""

    prompt_tokens: int
    basis: str
    decode_interval: tuple[float, float] | None = None
    prefill_interval: tuple[float, float] | None = None
    """Tokens a second between which nine of ten runs are expected, by the runs measured here."""


class Load(NamedTuple):
    """What a model is asked: to decode with `depth` tokens in the context, and to read a prompt of
    `prompt_tokens`, `micro_batch` at once."""

    depth: int
    prompt_tokens: int
    micro_batch: int = 512
    flash_attention: bool = True
    kv_type: str = "F16"


def load_of(settings: RunSettings, depth: int) -> Load:
    """To read a prompt of `depth` tokens and to decode after it, with these settings."""
    return Load(
        depth, depth, settings.micro_batch, settings.flash_attention, kv_type=settings.kv_type
    )


def estimate_speed(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    placement: Placement,
    load: Load,
    *,
    every_logit: bool = False,
) -> SpeedEstimate:
    """Predicted speed under a load.

    `every_logit`: the runtime sends all of a prompt's positions through the output head, not the
    last one alone.
    """
    decode, prefill = seconds_per_token(
        model, weights, device, placement, load, every_logit=every_logit
    )
    rates = None if placement.gpus else device.kernel_rates
    return SpeedEstimate(
        decode_tokens_per_second=1 / decode,
        prefill_tokens_per_second=1 / prefill,
        first_token_seconds=load.prompt_tokens * prefill + decode,
        prompt_tokens=load.prompt_tokens,
        basis=_basis(rates),
        decode_interval=_interval(1 / decode, rates.decode_spread if rates else None),
        prefill_interval=_interval(1 / prefill, rates.prefill_spread if rates else None),
    )


def _basis(rates: KernelRates | None) -> str:
    if rates is None:
        return "formula"
    return "measured" if rates.corrected_at else "calibrated"


def _interval(per_second: float, spread: float | None) -> tuple[float, float] | None:
    return (per_second / spread, per_second * spread) if spread else None


def seconds_per_token(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    placement: Placement,
    load: Load,
    *,
    every_logit: bool = False,
) -> tuple[float, float]:
    """Seconds a token under a load: decoded, and read within a prompt. `every_logit` as in
    `estimate_speed`."""
    processors = [device.cpu, *(g for n in placement.gpus for g in device.gpus if g.name == n)]
    placed = parts(weights, placement)
    apart = bool(placement.gpus) and not placement.kv_on_gpu
    batch = min(load.micro_batch, load.prompt_tokens)
    decode = prefill = 0.0
    for processor, part in zip(processors, placed, strict=True):
        if part.idle and not apart:
            continue
        pace = pace_of(processor, device.pool(processor.pool))
        kernel_rates = None if part.gpu else device.kernel_rates
        fixed, attention_decode, attention_prefill = _layer_costs(
            model, pace, kernel_rates, load, on_cpu=part.gpu is None
        )
        # Whoever keeps the cache attends to it.
        attended = (0 if part.gpu else len(weights.layers)) if apart else part.layers
        decode += part.layers * fixed + attended * attention_decode
        prefill += attended * attention_prefill
        prefill += part.layers * model.embedding_length * pace.passed_number
        lent = part.gpu is None and bool(placement.gpus) and batch >= LENT_BATCH
        card = processors[1] if lent else processor
        lent_pace = pace_of(card, device.pool(card.pool)) if lent else pace
        if model.experts:
            decode += part.layers * pace.expert_layer
            prefill += _gathering(part, placement, weights, lent_pace)
        for kind, share in part.weights.items():
            decoded, read = _weights_cost(kind, share, pace, kernel_rates)
            decode += decoded
            prefill += share.products * product_seconds(kind, lent_pace) if lent else read
            if lent and device.link:
                prefill += share.stored_bytes / (LINK_SHARE * device.link * batch)
        if kernel_rates:
            rows = model.layer_rows * part.layers / len(weights.layers)
            decode += rows * kernel_rates.decode_row_seconds
            prefill += 0.0 if lent else rows * kernel_rates.prefill_row_seconds
        for kind, share in part.head.items():
            decode += _weights_cost(kind, share, pace, kernel_rates)[0]
    handovers = _handovers(placed, cache_apart=apart) * HANDOVER_SECONDS
    if not placement.gpus:
        prefill += _last_products(model, weights, device, load, every_logit=every_logit)
        if device.kernel_rates:
            decode += device.kernel_rates.token_seconds
            decode += model.vocabulary * device.kernel_rates.decode_row_seconds
    return decode + handovers, prefill + handovers / batch


def _last_products(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    load: Load,
    *,
    every_logit: bool,
) -> float:
    """What a token of a prompt on the CPU adds at the model's end: the head's products, less those
    that are left out.

    llama.cpp takes only the last position of a prompt through the head, and none but it through
    the last layer's feed-forward; constants that were fitted to published speeds include that.
    """
    rates = device.kernel_rates
    if rates is None and not every_logit:
        return 0.0
    pace = pace_of(device.cpu, device.system_pool)
    head = [_weights_cost(kind, share, pace, rates) for kind, share in weights.head.items()]
    row_seconds = rates.prefill_row_seconds if rates else 0.0
    if every_logit or rates is None:
        return sum(read for _, read in head) + model.vocabulary * row_seconds
    last, rows = model.last_feed_forward
    layers = weights.layers_between(0, len(weights.layers))
    left_out = last * sum(
        _weights_cost(kind, share, pace, rates)[1] for kind, share in layers.items()
    )
    once = sum(decoded for decoded, _ in head) + model.vocabulary * rates.decode_row_seconds
    return once / load.prompt_tokens - left_out - rows * row_seconds


def cpu_seconds(
    kind: str, size_bytes: int, elements: int, device: DeviceProfile
) -> tuple[float, float]:
    """What a matrix of a type adds to a decoded token and to a token of a prompt on the CPU."""
    cpu = pace_of(device.cpu, device.system_pool)
    return _weights_cost(kind, Share(size_bytes, size_bytes, elements), cpu, device.kernel_rates)


def _handovers(placed: Sequence[Part], *, cache_apart: bool) -> int:
    """How often one token's activations go to another processor."""
    cpu, *cards = placed
    if not cards:
        return 0
    there_and_back = cpu.experts + (sum(card.layers for card in cards) if cache_apart else 0)
    return 2 * there_and_back + len(cards) - (0 if cpu.layers else 1)


def _weights_cost(
    kind: str, share: Share, pace: Pace, kernel_rates: KernelRates | None
) -> tuple[float, float]:
    """Time of weights of a type: in a decoded token, and in a token of a prompt."""
    if kernel_rates and kind in kernel_rates.kernels:
        kernel = kernel_rates.kernels[kind]
        return (
            share.streamed_bytes / kernel.decode_bytes_per_second,
            share.products / kernel.prefill_products_per_second,
        )
    decode = share.streamed_bytes * pace.byte + share.products * pace.weight
    return decode / pace.slow_kernels.get(kind, 1.0), share.products * product_seconds(kind, pace)


def _gathering(part: Part, placement: Placement, weights: LayeredWeights, pace: Pace) -> float:
    """Time in a token of a prompt that the part's experts take beyond plain weights."""
    if pace.expert_products == 1:
        return 0.0
    total = len(weights.layers)
    first, last = part.first, part.last
    if part.gpu:
        first = min(max(first, placement.cpu_expert_layers), last)
    else:
        last += part.experts
    return (pace.expert_products - 1) * sum(
        share.products * product_seconds(kind, pace)
        for kind, share in weights.experts_between(first, min(last, total)).items()
    )


def _layer_costs(
    model: ModelSpec, pace: Pace, kernel_rates: KernelRates | None, load: Load, *, on_cpu: bool
) -> tuple[float, float, float]:
    """Seconds a layer: fixed and attention's while decoding; attention's a token of the prompt."""
    row = model.heads * (model.key_length + model.value_length)
    times = _cache_times(kernel_rates, load.kv_type) if on_cpu else EVEN
    seen, read = 0.0, 0.0
    for window, share in _windows(model):
        seen += share * (min(load.depth, window) if window else load.depth)
        read += share * row * prompt_pairs(load.prompt_tokens, window) / load.prompt_tokens
    if kernel_rates:
        shared = kernel_rates.shared_attention_seconds if load.depth >= SHARED_DEPTH else 0.0
        return (
            kernel_rates.layer_seconds,
            times.decode * row * (seen / kernel_rates.decode_attention_per_second + shared),
            times.prefill * read / kernel_rates.prefill_attention_per_second,
        )
    # Kernels of cards share what a group of heads reads; the CPU's read it for each of them.
    readers = model.heads if on_cpu else model.kv_heads
    cache_bytes = 2 * readers * (model.key_length + model.value_length) * seen
    cache_byte, product = (
        (pace.cache_byte, pace.attention_product)
        if load.flash_attention
        else (pace.cache_byte_unfused, pace.attention_product_unfused)
    )
    return pace.layer, times.decode * cache_bytes * cache_byte, times.prefill * read * product


def _cache_times(kernel_rates: KernelRates | None, kv_type: str) -> CacheTimes:
    if all(TENSOR_TYPES[kind].is_float for kind in cache_types(kv_type)):
        return EVEN
    known = {**CACHE_TIMES, **(kernel_rates.cache_times if kernel_rates else {})}
    return known.get(kv_type) or known["Q4_0"]


def _windows(model: ModelSpec) -> tuple[tuple[int | None, float], ...]:
    """The windows of a model's layers, each with its share of them; None sees everything."""
    sliding = model.sliding_layers / model.layers
    return ((model.sliding_window, sliding), (None, 1 - sliding))
