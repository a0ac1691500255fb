"""GGUF metadata as config.json: the inverse of gguf_metadata, for the families of the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgecomp.common.errors import ExportRefused
from edgecomp.formats.exporting import FloatType
from edgecomp.models.architectures import BY_GGUF_NAME, Architecture
from edgecomp.models.float_conversion import float32_pieces
from edgecomp.models.gguf.header import GgufHeader
from edgecomp.models.rope_scaling import frequency_factors, yarn_scale
from edgecomp.models.spec import ModelSpec

from .gguf_metadata import LARGEST_GEMMA_LAYERS
from .gguf_tokenizer import END_KEYS

Config = dict[str, Any]
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
LLAMA3_SCALINGS = tuple(
    {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    for factor in (8.0, 32.0)
)
"""How Llama 3.1 and 3.2 stretch positions; a GGUF file holds the resulting factors only."""


def config_of(model: ModelSpec, header: GgufHeader, float_type: FloatType) -> Config:
    """config.json for the weights of a GGUF file.

    Raises ExportRefused where its way of stretching positions cannot be told from its metadata.
    """
    row = BY_GGUF_NAME[model.architecture]
    names = {tensor.name for tensor in model.tensors}
    config: Config = {
        "architectures": [row.hf_classes[0]],
        "model_type": row.hf_type,
        "vocab_size": model.vocabulary,
        "tie_word_embeddings": model.tied_embeddings,
        "dtype": DTYPES[float_type],
    }
    bos, *ends = (header.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", *END_KEYS))
    config["bos_token_id"] = bos if isinstance(bos, int) else None
    numbers = list(dict.fromkeys(end for end in ends if isinstance(end, int)))
    config["eos_token_id"] = numbers if len(numbers) > 1 else next(iter(numbers), None)
    if row.gguf_name == "gpt2":
        return config | _gpt2(model, header)
    config |= {
        "hidden_size": model.embedding_length,
        "intermediate_size": model.feed_forward_length,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "max_position_embeddings": model.context_length,
        "rms_norm_eps": _number(header, f"{row.gguf_name}.attention.layer_norm_rms_epsilon", 1e-6),
        "pad_token_id": None,
        "rope_parameters": _rope(model, header),
    }
    if row.gguf_name != "phi3":
        config["head_dim"] = model.key_length
    if row.gguf_name == "phi3":
        config |= _phi3(config["rope_parameters"])
    elif row.full_attention_every:
        config |= _gemma(model, header, row, config["rope_parameters"])
    else:
        config["hidden_act"] = "silu"
        config["attention_bias"] = "blk.0.attn_q.bias" in names and row.gguf_name == "llama"
    return config | (_experts(model) if model.experts else {})


def _experts(model: ModelSpec) -> Config:
    rows = {tensor.name: tensor.shape[-2] for tensor in model.tensors if "_up_" in tensor.name}
    if model.architecture == "llama":
        return {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "num_local_experts": model.experts,
            "num_experts_per_tok": model.experts_used,
            "sliding_window": None,
        }
    config = {
        "num_experts": model.experts,
        "num_experts_per_tok": model.experts_used,
        "moe_intermediate_size": rows["blk.0.ffn_up_exps.weight"],
    }
    if "blk.0.ffn_up_shexp.weight" in rows:
        config["shared_expert_intermediate_size"] = rows["blk.0.ffn_up_shexp.weight"]
    # What llama.cpp takes for granted.
    expected = BY_GGUF_NAME[model.architecture].expected_config
    return {**config, **expected}


def _gpt2(model: ModelSpec, header: GgufHeader) -> Config:
    return {
        "n_embd": model.embedding_length,
        "n_inner": model.feed_forward_length,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_positions": model.context_length,
        "layer_norm_epsilon": _number(header, "gpt2.attention.layer_norm_epsilon", 1e-5),
        "activation_function": "gelu_new",
    }


def _phi3(rope: Config) -> Config:
    original = rope.get("original_max_position_embeddings")
    return {
        "hidden_act": "silu",
        "sliding_window": None,
        **({"original_max_position_embeddings": original} if original else {}),
    }


def _gemma(model: ModelSpec, header: GgufHeader, row: Architecture, rope: Config) -> Config:
    largest = model.layers == LARGEST_GEMMA_LAYERS[row.gguf_name]
    scalar = model.embedding_length // model.heads if largest else model.key_length
    config: Config = {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "sliding_window": model.sliding_window,
        "layer_types": [
            "sliding_attention" if model.slides(layer) else "full_attention"
            for layer in range(model.layers)
        ],
    }
    for key, entry in (
        ("attn_logit_softcapping", "attn_logit_softcapping"),
        ("final_logit_softcapping", "final_logit_softcapping"),
    ):
        stored = header.get(f"{row.gguf_name}.{entry}")
        config[key] = float(stored) if isinstance(stored, float) else None
    if row.gguf_name == "gemma3":
        theta = _number(header, "gemma3.rope.freq_base_swa", 10_000.0)
        config["rope_parameters"] = {
            "full_attention": rope,
            "sliding_attention": {"rope_type": "default", "rope_theta": theta},
        }
    return config


def _rope(model: ModelSpec, header: GgufHeader) -> Config:
    prefix = f"{model.architecture}.rope"
    rope: Config = {
        "rope_type": "default",
        "rope_theta": _number(header, f"{prefix}.freq_base", 10_000.0),
    }
    rotated = header.get(f"{prefix}.dimension_count")
    if isinstance(rotated, int) and rotated < model.key_length:
        rope["partial_rotary_factor"] = rotated / model.key_length
    original = header.get(f"{prefix}.scaling.original_context_length")
    if isinstance(original, int):
        rope["original_max_position_embeddings"] = original
    kind = header.get(f"{prefix}.scaling.type")
    if kind in ("linear", "yarn"):
        rope["rope_type"] = kind
        rope["factor"] = _number(header, f"{prefix}.scaling.factor", 1.0)
    share = header.get(f"{prefix}.scaling.attn_factor")
    if kind == "yarn" and isinstance(share, float):
        # llama.cpp multiplies its own scale by this entry, and reads no other one of YaRN's.
        rope["attention_factor"] = share * yarn_scale(rope["factor"])
    return rope | _from_factors(model, header, rope)


def _from_factors(model: ModelSpec, header: GgufHeader, rope: Config) -> Config:
    tensors = {
        row.name: np.concatenate([piece.ravel() for piece in float32_pieces(header, row)])
        for row in header.tensors
        if row.name.startswith("rope_")
    }
    if "rope_factors_long.weight" in tensors:
        stored = header.get(f"{model.architecture}.rope.scaling.attn_factor")
        return {
            "rope_type": "longrope",
            "long_factor": tensors["rope_factors_long.weight"].tolist(),
            "short_factor": tensors["rope_factors_short.weight"].tolist(),
            **({"attention_factor": stored} if isinstance(stored, float) else {}),
        }
    if "rope_freqs.weight" not in tensors:
        return {}
    for scaling in LLAMA3_SCALINGS:
        expected = frequency_factors({"rope_parameters": rope | scaling}, model.key_length)
        if np.allclose(expected["rope_freqs.weight"], tensors["rope_freqs.weight"], rtol=1e-5):
            return scaling
    raise ExportRefused(
        f"{model.path} stretches positions by a table that is neither Llama 3.1's nor 3.2's, and "
        "config.json has no place for a table. Give the model's Hugging Face folder instead."
    )


def _number(header: GgufHeader, key: str, default: float) -> float:
    """A number as it was before it became a float32: the shortest decimal that rounds to it."""
    value = header.get(key)
    if not isinstance(value, int | float):
        return default
    return float(str(np.float32(value)))
