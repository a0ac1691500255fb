"""The types of a KV cache, and what they are expected to lose before anything was measured."""

from __future__ import annotations

from edgecomp.formats.expected_loss import size_factor
from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES

CACHE_CHOICES = ("F16", "Q8_0", "Q8_0/Q4_0", "Q4_0")
"""What `auto` chooses from, the closest to the source first: keys suffer more than values."""

KEY_NATS = {"F16": 0.0, "Q8_0": 1.5e-4, "Q4_0": 1.2e-2}
VALUE_NATS = {"F16": 0.0, "Q8_0": 5e-5, "Q4_0": 3e-3}
"""Divergence in nats of a model of 8 B parameters, by the type of its keys and values: set by the
F16 files of two models at 1,024 tokens (SmolLM2 135M: 0.0003 and 0.044 with both in Q8_0 and Q4_0;
Gemma 3 270M: 0.0006 and 0.12; 2026-11-28). Biases on keys cost far more (Qwen2.5-Coder 0.5B: 0.010
in Q8_0), so a run that chooses the type measures it."""


def cache_types(kv_type: str) -> tuple[str, str]:
    """The keys' and the values' type of a KV cache's."""
    keys, _, values = kv_type.partition("/")
    return keys, values or keys


def expected_cache_loss(model: ModelSpec, kv_type: str) -> float:
    """Expected divergence from the model with a float cache, in nats a token."""
    keys, values = cache_types(kv_type)
    return size_factor(model) * (KEY_NATS.get(keys, 0.0) + VALUE_NATS.get(values, 0.0))


def suits_heads(model: ModelSpec, kv_type: str) -> bool:
    """Whether the heads divide by the blocks of the cache's types."""
    keys, values = (TENSOR_TYPES[kind].block_elements for kind in cache_types(kv_type))
    return model.key_length % keys == 0 and model.value_length % values == 0
