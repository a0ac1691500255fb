"""Tokens a second of a model in a format on a device: predicted from kernels, not from size alone.

Decoding a token streams every active weight once, reads the KV cache once a query head, and pays a
fixed cost a layer. Reading a prompt is bound by arithmetic. Where the device was calibrated, each
tensor type's kernel speed is measured; else a share of the memory's bandwidth and of the
processor's peak stands in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgecomp.common.frozen_model import FrozenModel
from edgecomp.devices.kernel_rates import KernelRates
from edgecomp.devices.profile import DeviceProfile, Processor
from edgecomp.formats.layered_weights import LayeredWeights
from edgecomp.models.attention_pairs import prompt_pairs
from edgecomp.models.spec import ModelSpec
from edgecomp.planning.placement import Part, Placement, parts

GPU_DECODE_SHARE, CPU_DECODE_SHARE = 0.70, 0.60
"""Share of a pool's bandwidth that decoding reaches: by published llama.cpp runs (GPU), and by
quantized kernels on few cores (CPU)."""

GPU_PREFILL_SHARE, CPU_PREFILL_SHARE = 0.35, 0.30
"""Share of the peak half-precision (GPU) or single-precision (CPU) arithmetic that a prompt
reaches."""

HANDOVER_SECONDS = 30e-6
"""Time to hand activations from one processor to another, with the wait for them: a guess."""

LENT_BATCH = 32
"""From this batch on, llama.cpp copies what lies in the system's memory to a card for one use,
instead of multiplying on the CPU (`offload_op` of its GPU backends)."""

LINK_SHARE = 0.7
"""Share of the link's rate that such copies reach: a guess."""

GPU_LAYER_SECONDS, CPU_LAYER_SECONDS = 6e-6, 20e-6
SLOW_KERNELS = {"Q4_1": 0.6, "Q5_1": 0.6, "Q3_K": 0.6, "IQ3_S": 0.4, "IQ3_XXS": 0.4, "IQ2_S": 0.4,
                "IQ2_XS": 0.4, "IQ2_XXS": 0.4, "IQ1_S": 0.4, "IQ1_M": 0.3}  # fmt: skip
"""Types whose CPU kernels unpack more than they read: the share of the usual decode speed."""


class SpeedEstimate(FrozenModel):
    """Predicted speed at one depth. `basis`: "calibrated" or "formula"."""

    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    first_token_seconds: float
    """For a prompt of `prompt_tokens`."""

    prompt_tokens: int
    basis: str


class Load(NamedTuple):
    """What a model is asked: to decode with `depth` tokens in the context, and to read a prompt of
    `prompt_tokens`, `micro_batch` at once."""

    depth: int
    prompt_tokens: int
    micro_batch: int = 512


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
    decode, prefill = seconds_per_token(model, weights, device, placement, load)
    if every_logit:
        prefill += sum(
            share.products / _prefill_rate(kind, device.cpu, device.kernel_rates)
            for kind, share in weights.head.items()
        )
    calibrated = device.kernel_rates is not None and not placement.gpus
    return SpeedEstimate(
        decode_tokens_per_second=1 / decode,
        prefill_tokens_per_second=1 / prefill,
        first_token_seconds=load.prompt_tokens * prefill + decode,
        prompt_tokens=load.prompt_tokens,
        basis="calibrated" if calibrated else "formula",
    )


def seconds_per_token(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    placement: Placement,
    load: Load,
) -> tuple[float, float]:
    """Seconds a token under a load: decoded, and read within a prompt."""
    kernel_rates = device.kernel_rates
    processors = [device.cpu, *(g for n in placement.gpus for g in device.gpus if g.name == n)]
    placed = parts(weights, placement)
    apart = bool(placement.gpus) and not placement.kv_on_gpu
    batch = min(load.micro_batch, load.prompt_tokens)
    decode = prefill = 0.0
    for processor, part in zip(processors, placed, strict=True):
        if part.idle and not apart:
            continue
        bandwidth = device.pool(processor.pool).bandwidth
        fixed, attention_decode, attention_prefill = _layer_costs(
            model, processor, bandwidth, kernel_rates, load
        )
        # Whoever keeps the cache attends to it.
        attended = (0 if part.gpu else len(weights.layers)) if apart else part.layers
        decode += part.layers * fixed + attended * attention_decode
        prefill += attended * attention_prefill
        lent = part.gpu is None and bool(placement.gpus) and batch >= LENT_BATCH
        reader = processors[1] if lent else processor
        for kind, share in part.weights.items():
            decode += share.streamed_bytes / _decode_rate(kind, processor, bandwidth, kernel_rates)
            prefill += share.products / _prefill_rate(kind, reader, kernel_rates)
            if lent and device.link:
                prefill += share.stored_bytes / (LINK_SHARE * device.link * batch)
        # Only the last position of a prompt goes through the head.
        for kind, share in part.head.items():
            decode += share.streamed_bytes / _decode_rate(kind, processor, bandwidth, kernel_rates)
    handovers = _handovers(placed, cache_apart=apart) * HANDOVER_SECONDS
    if kernel_rates and not placement.gpus:
        decode += kernel_rates.token_seconds
    return decode + handovers, prefill + handovers / batch


def cpu_seconds(
    kind: str, size_bytes: int, elements: int, device: DeviceProfile
) -> tuple[float, float]:
    """What a matrix of a type adds to a decoded token and to a token of a prompt on the CPU."""
    bandwidth = device.pool(device.cpu.pool).bandwidth
    return (
        size_bytes / _decode_rate(kind, device.cpu, bandwidth, device.kernel_rates),
        elements / _prefill_rate(kind, device.cpu, device.kernel_rates),
    )


def _handovers(placed: Sequence[Part], *, cache_apart: bool) -> int:
    """How often one token's activations go to another processor."""
    cpu, *cards = placed
    if not cards:
        return 0
    there_and_back = cpu.experts + (sum(card.layers for card in cards) if cache_apart else 0)
    return 2 * there_and_back + len(cards) - (0 if cpu.layers else 1)


def _decode_rate(
    kind: str, processor: Processor, bandwidth: float, kernel_rates: KernelRates | None
) -> float:
    if processor.kind == "cpu":
        if kernel_rates and kind in kernel_rates.kernels:
            return kernel_rates.kernels[kind].decode_bytes_per_second
        return CPU_DECODE_SHARE * bandwidth * SLOW_KERNELS.get(kind, 1.0)
    return GPU_DECODE_SHARE * bandwidth


def _prefill_rate(kind: str, processor: Processor, kernel_rates: KernelRates | None) -> float:
    """Weights times tokens a second; each costs a multiplication and an addition."""
    if processor.kind == "cpu":
        if kernel_rates and kind in kernel_rates.kernels:
            return kernel_rates.kernels[kind].prefill_products_per_second
        return CPU_PREFILL_SHARE * processor.peak["fp32"] / 2
    peak = processor.peak.get("fp16") or processor.peak.get("bf16") or processor.peak["fp32"]
    return GPU_PREFILL_SHARE * peak / 2


def _layer_costs(
    model: ModelSpec,
    processor: Processor,
    bandwidth: float,
    kernel_rates: KernelRates | None,
    load: Load,
) -> tuple[float, float, float]:
    """Seconds a layer: fixed and attention's while decoding; attention's a token of the prompt."""
    row = model.heads * (model.key_length + model.value_length)
    seen, read = 0.0, 0.0
    for window, share in _windows(model):
        seen += share * (min(load.depth, window) if window else load.depth)
        read += share * row * prompt_pairs(load.prompt_tokens, window) / load.prompt_tokens
    if processor.kind == "cpu" and kernel_rates:
        return (
            kernel_rates.layer_seconds,
            row * seen / kernel_rates.decode_attention_per_second,
            read / kernel_rates.prefill_attention_per_second,
        )
    # Kernels of cards share what a group of heads reads; the CPU's read it for each of them.
    readers = model.heads if processor.kind == "cpu" else model.kv_heads
    kv_row = 2 * readers * (model.key_length + model.value_length)
    reached = CPU_DECODE_SHARE if processor.kind == "cpu" else GPU_DECODE_SHARE
    fixed = CPU_LAYER_SECONDS if processor.kind == "cpu" else GPU_LAYER_SECONDS
    peak = _prefill_rate("F16", processor, kernel_rates)
    return fixed, kv_row * seen / (reached * bandwidth), read / peak


def _windows(model: ModelSpec) -> tuple[tuple[int | None, float], ...]:
    """The windows of a model's layers, each with its share of them; None sees everything."""
    sliding = model.sliding_layers / model.layers
    return ((model.sliding_window, sliding), (None, 1 - sliding))
