"""Entries of config.json that are read here, of the types that the code which reads them takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from edgecomp.common.errors import ArchitectureUnsupported, FileCorrupt, shown
from edgecomp.models.architectures import BY_GGUF_NAME
from edgecomp.models.rope_scaling import rope_parameters

ADVICE = "Restore it from the model's page."

LARGEST_FLOAT32 = 3.4028234e38
"""GGUF holds counts of 32 bits and numbers of float32: larger ones describe no model."""

Count = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Number = Annotated[float, Field(strict=True, ge=-LARGEST_FLOAT32, le=LARGEST_FLOAT32)]
Positive = Annotated[float, Field(strict=True, gt=0, le=LARGEST_FLOAT32)]

Share = Annotated[float, Field(strict=True, gt=0, le=1)]

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
    partial_rotary_factor: Share | None = None
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
    partial_rotary_factor: Share | None = None
    original_max_position_embeddings: Count | None = None
    rope_scaling: RotaryEntries | None = None
    rope_parameters: RotaryEntries | None = None


UNKNOWN = "unknown"
"""The family of a config that names none."""

OTHER_NAMES = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "hidden_size": ("n_embd", "dim", "d_model"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "head_dim": ("d_kv",),
    "intermediate_size": ("n_inner", "hidden_dim", "d_ff", "ffn_dim"),
    "max_position_embeddings": ("n_positions", "max_seq_len"),
}
"""What families outside the table call the same entry, as in transformers' `attribute_map`s, which
cannot be asked without loading torch."""

NEEDED = ("num_hidden_layers", "hidden_size")
HEADS = "num_attention_heads"
INDICES = ("full_attn_idxs", "attn_layer_indices")
"""Lists that number layers: they give no count a layer."""

KINDS_OF_LAYERS = ("layer_types", "layers_block_type", "hybrid_override_pattern")
"""Entries that tell each layer's kind; some configs count their layers in no other way."""


def usual_entries(config: dict[str, Any], path: Path, *, attends: bool = True) -> dict[str, Any]:
    """The config of a family that is not in our table, under the usual names; entries that
    mean something else there are left out.

    A count that it gives layer by layer is its largest, so that memory is not understated.
    `attends`: its layers must have attention heads; a family that llama.cpp is known to run may
    have none. Raises ArchitectureUnsupported where it describes no such layers, and FileCorrupt
    where it names no family either.
    """
    needed = (*NEEDED, HEADS) if attends else NEEDED
    config = {name: value if name in INDICES else _largest(value) for name, value in config.items()}
    for usual, others in OTHER_NAMES.items():
        other = next((name for name in others if name in config), None)
        if other and usual not in config:
            config[usual] = config[other]
    kinds = next((config[name] for name in KINDS_OF_LAYERS if config.get(name)), ())
    if isinstance(kinds, list | str) and kinds:
        config.setdefault(NEEDED[0], len(kinds))
    try:
        ConfigEntries.model_validate(config)
    except ValidationError as error:
        faults = error.errors()
        huge = next((fault for fault in faults if fault["type"] == "less_than"), None)
        if huge:
            raise _wrong_entry(path, huge) from error
        odd = {fault["loc"][0] for fault in faults}
        config = {name: value for name, value in config.items() if name not in odd}
    if all(config.get(name) for name in needed):
        return config
    names = (config["architectures"][0], config.get("model_type"))
    family = next((name for name in names if name != UNKNOWN), None)
    if not isinstance(family, str):
        raise FileCorrupt(path, f"it does not say {NEEDED[0]}.", ADVICE)
    raise ArchitectureUnsupported(family, "planned", list(BY_GGUF_NAME))


def _wrong_entry(path: Path, fault: ErrorDetails) -> FileCorrupt:
    name = ".".join(str(part) for part in fault["loc"])
    return FileCorrupt(path, f"its {name} is {shown(fault['input'])}.", ADVICE)


def _largest(value: Any) -> Any:
    counts = isinstance(value, list) and value and all(type(entry) is int for entry in value)
    return max(value) if counts else value


def check_entries(config: dict[str, Any], path: Path) -> None:
    """Raise FileCorrupt naming an entry of a known family's config at `path` that is of another
    type, or one that its way of stretching positions needs and that is missing."""
    try:
        ConfigEntries.model_validate(config)
    except ValidationError as error:
        raise _wrong_entry(path, error.errors()[0]) from error
    rope = rope_parameters(config)
    for name in NEEDED_BY_ROPE_TYPE.get(rope["rope_type"], ()):
        if rope.get(name) is None:
            kind = rope["rope_type"]
            raise FileCorrupt(path, f"its rope type is {kind} and {name} is missing.", ADVICE)
    if rope["rope_type"] == "llama3" and rope["low_freq_factor"] >= rope["high_freq_factor"]:
        fault = "its low_freq_factor is not below its high_freq_factor."
        raise FileCorrupt(path, fault, ADVICE)
