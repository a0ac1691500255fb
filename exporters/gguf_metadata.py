"""config.json as GGUF metadata, in the keys and types of the `gguf` package.

Agrees with `set_gguf_parameters` of llama.cpp's `conversion/base.py` and its families' files.
"""

from __future__ import annotations

from typing import Any

import gguf

from edgecomp.common.errors import ExportRefused
from edgecomp.formats.exporting import FloatType
from edgecomp.formats.presets import PRESETS
from edgecomp.models.architectures import Architecture
from edgecomp.models.rope_scaling import (
    longrope_attention_factor,
    rope_parameters,
    rotary_length,
    sliding_rope_theta,
    yarn_attention_factor,
    yarn_scale,
)
from edgecomp.models.spec import ModelSpec

Config = dict[str, Any]
LARGEST_GEMMA_LAYERS = {"gemma2": 46, "gemma3": 62}
"""The 27B models, where llama.cpp scales queries by width / heads instead of the head's size."""


def check_config(model: ModelSpec, architecture: Architecture, config: Config) -> None:
    """Raise ExportRefused where llama.cpp would compute something else than config.json says."""
    faults = [
        f"{key} is {config[key]!r}, llama.cpp assumes {expected!r}"
        for key, expected in architecture.expected_config.items()
        if key in config and config[key] != expected
    ]
    if architecture.gguf_name in LARGEST_GEMMA_LAYERS:
        largest = model.layers == LARGEST_GEMMA_LAYERS[architecture.gguf_name]
        assumed = model.embedding_length // model.heads if largest else model.key_length
        scalar = config.get("query_pre_attn_scalar", assumed)
        if scalar != assumed:
            faults.append(f"query_pre_attn_scalar is {scalar}, llama.cpp assumes {assumed}")
    kind = rope_parameters(config)["rope_type"]
    if kind not in ("default", "linear", "yarn", "llama3", "longrope", "su"):
        faults.append(f"the rope type {kind!r} is not one llama.cpp has")
    if kind == "yarn":
        faults += _yarn_faults(rope_parameters(config))
    if faults:
        raise ExportRefused(
            f"{model.path} cannot be written as GGUF: {'; '.join(faults)}. Use its own runtime."
        )


def _yarn_faults(rope: Config) -> list[str]:
    """llama.cpp reads neither the ends of YaRN's ramp nor whether they are whole numbers, but for
    families that are not written here (`src/models/{grok,mistral3}.cpp`)."""
    return [
        f"YaRN's {key} is {rope[key]!r}, llama.cpp assumes {assumed!r}"
        for key, assumed in (("beta_fast", 32), ("beta_slow", 1), ("truncate", True))
        if rope.get(key) is not None and rope[key] != assumed
    ]


def add_metadata(
    writer: gguf.GGUFWriter,
    model: ModelSpec,
    architecture: Architecture,
    config: Config,
    float_type: FloatType,
    name: str,
) -> None:
    """Add everything but the tokenizer to `writer`; `name` becomes `general.name`."""
    writer.add_type("model")
    writer.add_name(name)
    if model.licence:
        writer.add_license(model.licence)
    writer.add_block_count(model.layers)
    writer.add_context_length(model.context_length)
    writer.add_embedding_length(model.embedding_length)
    writer.add_feed_forward_length(model.feed_forward_length)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    if architecture.gguf_name == "gpt2":
        writer.add_layer_norm_eps(float(config.get("layer_norm_epsilon", 1e-5)))
    else:
        writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
        writer.add_key_length(model.key_length)
        writer.add_value_length(model.value_length)
        writer.add_vocab_size(model.vocabulary)
        _add_rope(writer, model, architecture, config)
    if model.experts:
        _add_experts(writer, model, config)
    if architecture.full_attention_every:
        _add_gemma(writer, model, config)
    writer.add_file_type(PRESETS[float_type].ftype)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def notes(model: ModelSpec, architecture: Architecture, config: Config) -> list[str]:
    """What a reader must know of the difference between the checkpoint and its GGUF."""
    found = []
    window = config.get("sliding_window") if architecture.ignores_sliding_window else None
    if window and config.get("use_sliding_window", True) and window < model.context_length:
        found.append(
            f"llama.cpp ignores the model's sliding window: past {window} tokens answers differ."
        )
    rope = rope_parameters(config)
    if rope.get("long_factor"):
        found.append(
            "llama.cpp stretches positions wherever the context is set beyond "
            f"{rope['original_max_position_embeddings']} tokens, the source where the text is."
        )
    return found


def _add_rope(
    writer: gguf.GGUFWriter, model: ModelSpec, architecture: Architecture, config: Config
) -> None:
    rope = rope_parameters(config)
    writer.add_rope_dimension_count(rotary_length(config, model.key_length))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    sliding = sliding_rope_theta(config)
    if sliding is not None and architecture.full_attention_every:
        writer.add_rope_freq_base_swa(sliding)
    original = rope.get("original_max_position_embeddings")
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif rope["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(original or model.context_length))
        # llama.cpp multiplies its own scale by this entry (`src/llama-context.cpp`), and reads
        # no other one of YaRN's.
        share = yarn_attention_factor(rope) / yarn_scale(float(rope["factor"]))
        if share != 1.0:
            writer.add_rope_scaling_attn_factors(share)
    if architecture.gguf_name == "phi3":
        # Without the entry some runtimes assume a window of their own; 0 says there is none.
        writer.add_sliding_window(int(config.get("sliding_window") or 0))
        if original and rope["rope_type"] != "yarn":
            writer.add_rope_scaling_orig_ctx_len(int(original))
        if rope.get("long_factor"):
            factor = rope.get("attention_factor")
            writer.add_rope_scaling_attn_factors(
                longrope_attention_factor(rope, model.context_length) if factor is None else factor
            )


def _add_experts(writer: gguf.GGUFWriter, model: ModelSpec, config: Config) -> None:
    writer.add_expert_count(model.experts)
    writer.add_expert_used_count(model.experts_used)
    if config.get("moe_intermediate_size"):
        writer.add_expert_feed_forward_length(int(config["moe_intermediate_size"]))
    if config.get("shared_expert_intermediate_size"):
        writer.add_expert_shared_feed_forward_length(int(config["shared_expert_intermediate_size"]))


def _add_gemma(writer: gguf.GGUFWriter, model: ModelSpec, config: Config) -> None:
    if model.sliding_window:
        writer.add_sliding_window(model.sliding_window)
        # llama.cpp takes a period or one entry a layer (`load_swa_pattern`).
        pattern = list(model.sliding_pattern)
        writer.add_sliding_window_pattern(pattern or model.full_attention_every)
    elif model.architecture == "gemma2":
        # llama.cpp takes 4096 where there is none; a window as long as the context hides nothing.
        writer.add_sliding_window(model.context_length)
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(float(config["attn_logit_softcapping"]))
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(float(config["final_logit_softcapping"]))
