"""What was measured on one machine with one runtime, so that speed and memory can be predicted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgecomp.common.frozen_model import FrozenModel


class KernelRate(FrozenModel):
    """How fast one tensor type's matrix kernels are."""

    decode_bytes_per_second: float
    """Weight bytes a second while one token is decoded."""

    prefill_products_per_second: float
    """Weights times tokens a second while a batch of tokens is read."""

    quantize_weights_per_second: float | None = None
    """Weights a second that the quantizer turns into this type; None for float types."""


class CacheTimes(FrozenModel):
    """How many times as long attention takes with a KV cache of a type as with one of F16."""

    decode: float
    prefill: float


class KernelRates(FrozenModel):
    """Measured on an idle machine by `edgecomp devices calibrate`, in seconds and bytes."""

    schema_version: Literal[1] = 1
    processor: str
    threads: int
    processor_quota: float | None = None
    """Processors' time that a control group allowed; None without a limit."""

    runtime: str
    """Name and version of the runtime."""

    measured_at: str
    busy_processors: float = 0.0
    """Processors that other work kept busy before or after: what was measured is then too slow."""

    kernels: dict[str, KernelRate]
    """By tensor type."""

    layer_seconds: float
    """What a layer of a decoded token costs beside its weights: small operations, barriers."""

    token_seconds: float
    """What a decoded token costs once, whatever the depth."""

    decode_attention_per_second: float
    """Key and value elements a second, counted once a query head, while one token is decoded."""

    prefill_attention_per_second: float
    """The same while a batch of tokens is read."""

    shared_attention_seconds: float = 0.0
    """What a decoded token's attention costs more, an element of its query heads and their values,
    where the context is long enough to be shared out among the threads."""

    cache_times: dict[str, CacheTimes] = Field(default_factory=dict)
    """By type of the KV cache, as a run's settings name it."""

    decode_row_seconds: float = 0.0
    """What a row of a matrix costs a decoded token beside its products: to sum and store them, and
    what is done to them element by element."""

    prefill_row_seconds: float = 0.0
    """The same in a token of a batch."""

    worker_bytes: int
    """Memory of the runtime's process before a model is loaded."""

    memory_bytes_per_second: float
    """Bandwidth of a large copy by all threads, bytes read plus bytes written."""

    float_operations_per_second: float
    """Rate of a large single-precision matrix product by all threads."""

    corrected_at: str | None = None
    """When the last run of a real model corrected these rates (measured_runs.py); None: as
    calibrated."""

    decode_spread: float | None = None
    prefill_spread: float | None = None
    """The factor within which nine of ten measured runs lay of what these rates predict."""

    onnx: KernelRates | None = None
    """The same of ONNX Runtime; None where it was not measured."""
