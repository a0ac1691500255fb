"""Tokens a second of a model in a format on a device: predicted from kernels, not from size alone.

Decoding a token streams every active weight once, reads the KV cache once a query head, and pays a
fixed cost a layer. Reading a prompt is bound by arithmetic. Where the device was calibrated, each
tensor type's kernel speed is measured; else a share of the memory's bandwidth and of the
processor's peak stands in for it.
"""

from __future__ import annotations

from edgecomp.calibrated import Calibration
from edgecomp.device import DeviceProfile, Processor
from edgecomp.layered_weights import LayeredWeights
from edgecomp.model import ModelSpec
from edgecomp.placement import Placement, on_cpu, on_gpu
from edgecomp.value import Value

GPU_DECODE_SHARE, CPU_DECODE_SHARE = 0.70, 0.60
"""Of a pool's bandwidth that decoding reaches: what published llama.cpp runs reach (GPU), and what
quantized kernels reach on few cores (CPU)."""

GPU_PREFILL_SHARE, CPU_PREFILL_SHARE = 0.35, 0.30
"""Of the peak half-precision (GPU) or single-precision (CPU) arithmetic."""

GPU_LAYER_SECONDS, CPU_LAYER_SECONDS = 6e-6, 20e-6
SLOW_KERNELS = {"Q4_1": 0.6, "Q5_1": 0.6, "Q3_K": 0.6, "IQ3_S": 0.4, "IQ3_XXS": 0.4, "IQ2_S": 0.4,
                "IQ2_XS": 0.4, "IQ2_XXS": 0.4, "IQ1_S": 0.4, "IQ1_M": 0.3}  # fmt: skip
"""Types whose CPU kernels unpack more than they read: the share of the usual decode speed."""


class SpeedEstimate(Value):
    """Predicted speed at one depth. `basis`: "calibrated" or "formula"."""

    decode_tokens_per_second: float
    prefill_tokens_per_second: float
    first_token_seconds: float
    """For a prompt of `prompt_tokens`."""

    prompt_tokens: int
    basis: str


def estimate_speed(
    model: ModelSpec,
    weights: LayeredWeights,
    device: DeviceProfile,
    placement: Placement,
    *,
    depth: int,
    prompt_tokens: int,
    every_logit: bool = False,
) -> SpeedEstimate:
    """Predicted speed with `depth` tokens in the context. `every_logit`: the runtime sends all of a
    prompt's positions through the output head, not the last one alone."""
    calibration = device.calibration
    cpu = device.cpu
    gpu = next((p for p in device.gpus if p.name == placement.gpu), None)
    decode = prefill = 0.0
    gpu_layers = placement.gpu_layers if gpu else 0
    work = [(cpu, on_cpu(weights, gpu_layers))]
    if gpu:
        work.append((gpu, on_gpu(weights, gpu_layers)))
    for processor, part in work:
        fixed, attention_decode, attention_prefill = _layer_costs(
            model, device, processor, calibration, depth, prompt_tokens
        )
        decode += part.layers * (fixed + attention_decode)
        prefill += part.layers * attention_prefill
        for kind, share in part.weights.items():
            decode += share.streamed_bytes / _decode_rate(kind, device, processor, calibration)
            prefill += share.products / _prefill_rate(kind, device, processor, calibration)
        for kind, share in part.head.items():
            decode += share.streamed_bytes / _decode_rate(kind, device, processor, calibration)
            if every_logit:
                prefill += share.products / _prefill_rate(kind, device, processor, calibration)
    decode += calibration.token_seconds if calibration and gpu is None else 0.0
    return SpeedEstimate(
        decode_tokens_per_second=1 / decode,
        prefill_tokens_per_second=1 / prefill,
        first_token_seconds=prompt_tokens * prefill + decode,
        prompt_tokens=prompt_tokens,
        basis="calibrated" if calibration and gpu is None else "formula",
    )


def _decode_rate(
    kind: str, device: DeviceProfile, processor: Processor, calibration: Calibration | None
) -> float:
    if processor.kind == "cpu":
        if calibration and kind in calibration.kernels:
            return calibration.kernels[kind].decode_bytes_per_second
        bandwidth = device.pool(processor.pool).bandwidth
        return CPU_DECODE_SHARE * bandwidth * SLOW_KERNELS.get(kind, 1.0)
    return GPU_DECODE_SHARE * device.pool(processor.pool).bandwidth


def _prefill_rate(
    kind: str, device: DeviceProfile, processor: Processor, calibration: Calibration | None
) -> float:
    """Weights times tokens a second; each costs a multiplication and an addition."""
    if processor.kind == "cpu":
        if calibration and kind in calibration.kernels:
            return calibration.kernels[kind].prefill_products_per_second
        return CPU_PREFILL_SHARE * processor.peak["fp32"] / 2
    peak = processor.peak.get("fp16") or processor.peak.get("bf16") or processor.peak["fp32"]
    return GPU_PREFILL_SHARE * peak / 2


def _layer_costs(
    model: ModelSpec,
    device: DeviceProfile,
    processor: Processor,
    calibration: Calibration | None,
    depth: int,
    prompt_tokens: int,
) -> tuple[float, float, float]:
    """Seconds a layer: fixed and attention's while decoding; attention's a token of the prompt."""
    row = model.heads * (model.key_length + model.value_length)
    window = model.sliding_window if model.sliding_window and model.full_attention_every else None
    seen = min(depth, window) if window else depth
    read = min(prompt_tokens, window) if window else prompt_tokens
    if processor.kind == "cpu" and calibration:
        return (
            calibration.layer_seconds,
            row * seen / calibration.decode_attention_per_second,
            row * read / 2 / calibration.prefill_attention_per_second,
        )
    bandwidth = device.pool(processor.pool).bandwidth
    kv_row = 2 * model.kv_heads * (model.key_length + model.value_length)
    share = CPU_DECODE_SHARE if processor.kind == "cpu" else GPU_DECODE_SHARE
    fixed = CPU_LAYER_SECONDS if processor.kind == "cpu" else GPU_LAYER_SECONDS
    peak = _prefill_rate("F16", device, processor, calibration)
    return fixed, kv_row * seen / (share * bandwidth), row * read / 2 / peak
