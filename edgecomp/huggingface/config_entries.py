"""Entries of config.json that are read here, of the types that the code which reads them takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from edgecomp.errors import FileCorrupt
from edgecomp.rope_scaling import rope_parameters

ADVICE = "Restore it from the model's page."

Count = Annotated[int, Field(strict=True, ge=0)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

NEEDED_BY_ROPE_TYPE = {
    "linear": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": ("long_factor", "short_factor", "original_max_position_embeddings"),
    "su": ("long_factor", "short_factor", "original_max_position_embeddings"),
}


class RotaryEntries(BaseModel):
    """`rope_parameters` or the older `rope_scaling`, of all layers or of each kind of layer."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Positive | None = None
    factor: Positive | None = None
    low_freq_factor: Positive | None = None
    high_freq_factor: Positive | None = None
    original_max_position_embeddings: Positive | None = None
    partial_rotary_factor: Positive | None = None
    attention_factor: Number | None = None
    beta_fast: Number | None = None
    beta_slow: Number | None = None
    long_factor: list[Positive] | None = None
    short_factor: list[Positive] | None = None
    full_attention: RotaryEntries | None = None
    sliding_attention: RotaryEntries | None = None


class ConfigEntries(BaseModel):
    """What is read of a language model's config; other entries may hold anything."""

    num_hidden_layers: Count | None = None
    n_layer: Count | None = None
    hidden_size: Count | None = None
    n_embd: Count | None = None
    num_attention_heads: Count | None = None
    n_head: Count | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    intermediate_size: Count | None = None
    n_inner: Count | None = None
    vocab_size: Count | None = None
    max_position_embeddings: Count | None = None
    n_positions: Count | None = None
    sliding_window: Count | None = None
    sliding_window_pattern: Count | None = None
    older_pattern: Count | None = Field(None, alias="_sliding_window_pattern")
    layer_types: list[str] | None = None
    num_local_experts: Count | None = None
    num_experts: Count | None = None
    num_experts_per_tok: Count | None = None
    moe_intermediate_size: Count | None = None
    shared_expert_intermediate_size: Count | None = None
    rms_norm_eps: Number = 1e-6
    layer_norm_epsilon: Number = 1e-5
    query_pre_attn_scalar: Number | None = None
    attn_logit_softcapping: Number | None = None
    final_logit_softcapping: Number | None = None
    rope_theta: Positive | None = None
    rope_local_base_freq: Positive | None = None
    partial_rotary_factor: Positive | None = None
    original_max_position_embeddings: Count | None = None
    rope_scaling: RotaryEntries | None = None
    rope_parameters: RotaryEntries | None = None


def check_entries(config: dict[str, Any], path: Path) -> None:
    """Raise FileCorrupt naming an entry of the config at `path` that is of another type, or one
    that the config's way of stretching positions needs and that is missing."""
    try:
        ConfigEntries.model_validate(config)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise FileCorrupt(path, f"its {name} is {fault['input']!r}.", ADVICE) from error
    rope = rope_parameters(config)
    for name in NEEDED_BY_ROPE_TYPE.get(rope["rope_type"], ()):
        if rope.get(name) is None:
            kind = rope["rope_type"]
            raise FileCorrupt(path, f"its rope type is {kind} and {name} is missing.", ADVICE)
