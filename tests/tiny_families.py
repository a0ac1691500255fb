"""Tiny random checkpoints of today's decoder families that llama.cpp's converter reads.

Each family has the shape and the tokenizer with which transformers runs it, llama.cpp's converter
writes a GGUF of it, and llama.cpp gives the same logits.

    PYTHONPATH=tests python tests/tiny_families.py FOLDER [FAMILY...]

writes each family, or those named, into a folder of its own. Where GGML looks GELU up in a table of
half precision (Gemma, Falcon, GPT-2, ...) logits agree to some thousandths of their spread, and
elsewhere to some hundred-thousandths.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from tiny_models import TOKENS, trained_byte_fallback, trained_byte_level, written_tokenizer
from tokenizers import Tokenizer, pre_tokenizers

SHAPE: dict[str, Any] = {
    "vocab_size": TOKENS,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
"""Entries that every family takes which knows them."""

MATRIX_NOISE, VECTOR_NOISE = 0.08, 0.05


class Family(NamedTuple):
    name: str
    config: str
    changes: Mapping[str, Any] = MappingProxyType({})
    tokenizer: str = "byte-level"
    """Or "byte-fallback", as Llama 2's, or "byte-fallback-bare", as Gemma's: no space before."""
    special: tuple[str, ...] = ()
    """Special tokens that the converter asks for by name."""
    model_class: str = "AutoModelForCausalLM"
    published: Mapping[str, Any] = MappingProxyType({})
    """Entries of published config.json files that transformers writes otherwise or leaves out."""
    processor: Mapping[str, Any] = MappingProxyType({})
    """preprocessor_config.json, where there is one."""


def experts(**changes: Any) -> dict[str, Any]:
    return {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256} | changes


def local_experts(**changes: Any) -> dict[str, Any]:
    return {"num_local_experts": 4, "num_experts_per_tok": 2} | changes


SLIDING_AND_FULL = ["sliding_attention", "full_attention"]
SLIDING = {"sliding_window": 16, "layer_types": SLIDING_AND_FULL}
MAMBA2 = {
    "mamba_n_heads": 16,
    "mamba_d_head": 32,
    "mamba_d_state": 32,
    "mamba_n_groups": 2,
    "mamba_chunk_size": 16,
}
GATED_DELTA = {
    "num_hidden_layers": 4,
    "head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 128,
    "kv_lora_rank": 128,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
}
ROUTED = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "n_shared_experts": 1,
}
# With few heads many scores are exactly zero, and which of equals is chosen is left to each.
INDEXED = {"index_topk": 8, "index_n_heads": 16, "index_head_dim": 64}
DENSE_THEN_SPARSE = ["dense", "sparse"]
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
HALF_ROPE = ROPE | {"partial_rotary_factor": 0.5}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 16,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
GEMMA4 = {
    "head_dim": 64,
    "global_head_dim": 128,
    "num_hidden_layers": 4,
    "vocab_size_per_layer_input": TOKENS,
    "hidden_size_per_layer_input": 64,
    "num_kv_shared_layers": 2,
    "sliding_window": 16,
    "layer_types": SLIDING_AND_FULL * 2,
    # Without an entry llama.cpp caps at 30.
    "final_logit_softcapping": 30.0,
}
VISION = {
    "hidden_size": 64,
    # Unlike the width: of a square matrix llama.cpp takes the way down for the way up.
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
}
MERGED = {"num_hidden_layers": 3}
"""Layers enough: the converter looks for parts of the projector by the numbers of the layers."""
QWEN3_VISION = {
    "depth": 1,
    "hidden_size": 64,
    "num_heads": 4,
    "intermediate_size": 64,
    "out_hidden_size": 256,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0],
}
GLM_VISION = {
    "depth": 1,
    "hidden_size": 64,
    "num_heads": 4,
    "intermediate_size": 64,
    "out_hidden_size": 256,
}
IMAGE_TEXT = "AutoModelForImageTextToText"
PIXELS = {"min_pixels": 3136, "max_pixels": 12_544}
PICTURES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
GLM_SPECIAL = ("[gMASK]", "<|observation|>")

FAMILIES: tuple[Family, ...] = (
    Family("llama", "LlamaConfig"),
    Family("mistral", "MistralConfig", {"head_dim": 64, "sliding_window": None}),
    Family("mixtral", "MixtralConfig", local_experts()),
    Family(
        "ministral3",
        "Ministral3Config",
        {
            "head_dim": 64,
            "rope_parameters": YARN
            | {"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1},
        },
    ),
    Family("qwen2", "Qwen2Config"),
    Family("qwen2_moe", "Qwen2MoeConfig", experts(shared_expert_intermediate_size=256)),
    Family("qwen3", "Qwen3Config", {"head_dim": 64}),
    Family("qwen3_moe", "Qwen3MoeConfig", experts(head_dim=64, norm_topk_prob=True)),
    Family(
        "qwen3_next",
        "Qwen3NextConfig",
        GATED_DELTA | experts(shared_expert_intermediate_size=256),
    ),
    Family("qwen3_5_text", "Qwen3_5TextConfig", GATED_DELTA),
    Family(
        "qwen3_5_moe_text",
        "Qwen3_5MoeTextConfig",
        GATED_DELTA | experts(shared_expert_intermediate_size=256),
    ),
    Family(
        "qwen4_exp_text",
        "Qwen4ExpTextConfig",
        GATED_DELTA
        | experts(
            shared_expert_intermediate_size=256,
            layer_types=["linear_attention"] * 3 + ["indexed_attention"],
            rope_parameters=ROPE | {"partial_rotary_factor": 0.25},
            # The only gate that llama.cpp knows.
            output_gate_type="sigmoid",
            hc_lowrank=32,
            indexer_n_heads=2,
            indexer_kv_heads=1,
            indexer_head_dim=64,
            # Longer than what is run: the converter misses layers by transformers' own name.
            indexer_budget=512,
            indexer_compress_ratio=4,
        ),
    ),
    Family("gemma", "GemmaConfig", {"head_dim": 64}, "byte-fallback-bare"),
    Family(
        "gemma2",
        "Gemma2Config",
        {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 16},
        "byte-fallback-bare",
    ),
    Family(
        "gemma3_text",
        "Gemma3TextConfig",
        {
            "head_dim": 64,
            "query_pre_attn_scalar": 64,
            "sliding_window": 16,
            "num_hidden_layers": 7,
        },
    ),
    Family(
        "gemma3n_text",
        "Gemma3nTextConfig",
        {
            "num_hidden_layers": 3,
            # transformers saves no keys and values of layers that share, and llama.cpp wants them.
            "num_kv_shared_layers": 0,
            "head_dim": 64,
            # llama.cpp divides the variance by one less than this, which narrow layers show.
            "intermediate_size": 2048,
            # llama.cpp makes the first ten layers sparse, whatever the file says.
            "activation_sparsity_pattern": [0.95] * 3,
            "vocab_size_per_layer_input": TOKENS,
            "hidden_size_per_layer_input": 256,
            "sliding_window": 16,
            "layer_types": ["sliding_attention"] * 2 + ["full_attention"],
        },
    ),
    Family(
        "gemma4_text",
        "Gemma4TextConfig",
        GEMMA4,
        "byte-fallback-bare",
    ),
    Family(
        "gemma4_text-moe",
        "Gemma4TextConfig",
        {
            "head_dim": 64,
            "global_head_dim": 128,
            "num_global_key_value_heads": 1,
            "attention_k_eq_v": True,
            "hidden_size_per_layer_input": 0,
            "sliding_window": 16,
            "layer_types": SLIDING_AND_FULL,
            "final_logit_softcapping": 30.0,
            "enable_moe_block": True,
            "num_experts": 4,
            "top_k_experts": 2,
            "moe_intermediate_size": 256,
        },
        "byte-fallback-bare",
    ),
    Family("phi", "PhiConfig", {"num_key_value_heads": 4, "intermediate_size": 1024}),
    Family("phi3", "Phi3Config", {}, "byte-fallback"),
    Family("gpt2", "GPT2Config", published={"n_ctx": 512}),
    Family("falcon", "FalconConfig", {"num_kv_heads": 1}),
    Family(
        "falcon_h1",
        "FalconH1Config",
        MAMBA2
        | {
            "mamba_d_ssm": 512,
            "head_dim": 64,
            "mamba_rms_norm": True,
            # The only order that llama.cpp knows.
            "mamba_norm_before_gate": False,
            "key_multiplier": 0.7,
            "attention_out_multiplier": 0.8,
            "ssm_in_multiplier": 1.2,
            "embedding_multiplier": 2.0,
        },
    ),
    Family("bloom", "BloomConfig"),
    Family(
        "mpt",
        "MptConfig",
        {"d_model": 256, "n_heads": 4, "n_layers": 2, "max_seq_len": 512},
        published={"architectures": ["MPTForCausalLM"]},
    ),
    Family("stablelm", "StableLmConfig"),
    Family("starcoder2", "Starcoder2Config"),
    Family("gpt_bigcode", "GPTBigCodeConfig"),
    Family("olmo", "OlmoConfig"),
    Family("olmo2", "Olmo2Config"),
    Family("olmo3", "Olmo3Config", {"num_hidden_layers": 4, "sliding_window": 16}),
    Family(
        "olmoe",
        "OlmoeConfig",
        {"num_key_value_heads": 4, "num_experts": 4, "num_experts_per_tok": 2},
    ),
    Family(
        "granite",
        "GraniteConfig",
        {
            "attention_multiplier": 0.2,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.5,
            "logits_scaling": 2.0,
        },
    ),
    Family("granite_swa", "GraniteSWAConfig", SLIDING),
    Family("granitemoe", "GraniteMoeConfig", local_experts(attention_multiplier=0.2)),
    Family("granitemoe_swa", "GraniteMoeSWAConfig", local_experts(**SLIDING)),
    Family(
        "granitemoeshared", "GraniteMoeSharedConfig", local_experts(shared_intermediate_size=256)
    ),
    Family(
        "granitemoehybrid",
        "GraniteMoeHybridConfig",
        local_experts(
            shared_intermediate_size=256,
            layer_types=["linear_attention", "full_attention"],
            **MAMBA2,
        ),
        published={"layer_types": ["mamba", "attention"]},
    ),
    Family(
        "bamba",
        "BambaConfig",
        MAMBA2
        | {
            "attn_layer_indices": [1],
            # The converter permutes rows as if all of a head were rotated.
            "rope_parameters": ROPE | {"partial_rotary_factor": 1.0},
        },
    ),
    Family(
        "jamba",
        "JambaConfig",
        {
            "num_hidden_layers": 4,
            "num_experts": 4,
            "attn_layer_period": 4,
            "attn_layer_offset": 2,
            "use_mamba_kernels": False,
            "mamba_dt_rank": 16,
        },
        "byte-fallback",
    ),
    Family("mamba", "MambaConfig", {"intermediate_size": 512, "time_step_rank": 16}),
    Family(
        "mamba2",
        "Mamba2Config",
        {
            "num_heads": 16,
            "head_dim": 32,
            "state_size": 32,
            "n_groups": 2,
            "chunk_size": 16,
            "pad_vocab_size_multiple": 8,
        },
    ),
    Family("falcon_mamba", "FalconMambaConfig", {"intermediate_size": 512, "time_step_rank": 16}),
    Family("nemotron", "NemotronConfig", {"head_dim": 64}, "byte-fallback"),
    Family(
        "nemotron_h",
        "NemotronHConfig",
        {
            "layers_block_type": ["linear_attention", "moe", "full_attention", "moe"],
            "head_dim": 64,
            "ssm_state_size": 32,
            "mamba_num_heads": 16,
            "mamba_head_dim": 32,
            "n_groups": 2,
            "chunk_size": 16,
            "n_routed_experts": 4,
            "moe_intermediate_size": 256,
            "moe_shared_expert_intermediate_size": 256,
        },
    ),
    Family("smollm3", "SmolLM3Config", {"num_hidden_layers": 4}),
    Family("cohere", "CohereConfig", {"logit_scale": 1.0}),
    Family(
        "cohere2",
        "Cohere2Config",
        {
            "num_hidden_layers": 4,
            "head_dim": 64,
            "sliding_window": 16,
            "logit_scale": 1.0,
            "rotary_pct": 1.0,
        },
    ),
    Family(
        "cohere2_moe",
        "Cohere2MoeConfig",
        {
            "num_hidden_layers": 4,
            "head_dim": 64,
            "sliding_window": 16,
            "logit_scale": 1.0,
            "num_experts": 4,
            "mlp_layer_types": ["dense"] + ["sparse"] * 3,
            "first_k_dense_replace": 1,
            "prefix_dense_intermediate_size": 512,
        },
    ),
    Family("arcee", "ArceeConfig"),
    Family("apertus", "ApertusConfig"),
    Family("seed_oss", "SeedOssConfig", {"head_dim": 64}),
    # llama.cpp lets only models of 64 layers slide.
    Family(
        "exaone4", "Exaone4Config", {"sliding_window": None, "layer_types": ["full_attention"] * 2}
    ),
    Family(
        "exaone_moe",
        "ExaoneMoeConfig",
        experts(
            num_hidden_layers=4, sliding_window=16, num_shared_experts=1, scoring_func="sigmoid"
        ),
    ),
    Family("ernie4_5", "Ernie4_5Config", {"head_dim": 64}, "byte-fallback"),
    Family(
        "ernie4_5_moe",
        "Ernie4_5_MoeConfig",
        {
            # The converter takes a shared expert to be this, divided among the key-value heads.
            "intermediate_size": 1024,
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 256,
            "moe_layer_end_index": 1,
        },
        "byte-fallback",
    ),
    # The converter writes this epsilon for all.
    Family("glm", "GlmConfig", {"head_dim": 64, "rms_norm_eps": 1e-5}, special=GLM_SPECIAL),
    Family("glm4", "Glm4Config", {"head_dim": 64}, special=GLM_SPECIAL),
    Family(
        "glm4_moe",
        "Glm4MoeConfig",
        ROUTED | {"num_nextn_predict_layers": 0, "head_dim": 64},
        special=GLM_SPECIAL,
    ),
    Family(
        "glm4_moe_lite",
        "Glm4MoeLiteConfig",
        LATENT
        | ROUTED
        | {
            "mlp_layer_types": DENSE_THEN_SPARSE,
            "first_k_dense_replace": 1,
            "scoring_func": "sigmoid",
        },
        special=GLM_SPECIAL,
    ),
    Family(
        "glm_moe_dsa",
        "GlmMoeDsaConfig",
        LATENT
        | ROUTED
        | INDEXED
        | {
            "num_hidden_layers": 3,
            "mlp_layer_types": ["dense", "sparse", "sparse"],
            "indexer_types": ["full", "shared", "full"],
            "first_k_dense_replace": 1,
            "scoring_func": "sigmoid",
        },
        special=GLM_SPECIAL,
    ),
    Family(
        "solar_open",
        "SolarOpenConfig",
        ROUTED | {"head_dim": 64, "partial_rotary_factor": 1.0},
        special=("<|startoftext|>",),
    ),
    Family("hunyuan_v1_dense", "HunYuanDenseV1Config", {"head_dim": 64}),
    Family(
        "hunyuan_v1_moe",
        "HunYuanMoEV1Config",
        {
            "head_dim": 64,
            "num_experts": 4,
            "moe_topk": [2, 2],
            "moe_intermediate_size": [512, 512],
            "num_shared_expert": [1, 1],
        },
    ),
    Family(
        "hy_v3",
        "HYV3Config",
        experts(head_dim=64, mlp_layer_types=DENSE_THEN_SPARSE, num_shared_experts=1),
    ),
    Family("deepseek_v2", "DeepseekV2Config", LATENT | ROUTED | {"first_k_dense_replace": 1}),
    Family(
        "deepseek_v3",
        "DeepseekV3Config",
        LATENT
        | ROUTED
        | {
            "n_routed_experts": 8,
            "first_k_dense_replace": 1,
            "n_group": 4,
            "topk_group": 2,
            "scoring_func": "sigmoid",
        },
    ),
    Family(
        "deepseek_v32",
        "DeepseekV32Config",
        LATENT
        | ROUTED
        | INDEXED
        | {
            "mlp_layer_types": DENSE_THEN_SPARSE,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
            "scoring_func": "sigmoid",
        },
    ),
    Family("youtu", "YoutuConfig", LATENT),
    Family(
        "kimi_linear",
        "KimiLinearConfig",
        LATENT
        | {
            "q_lora_rank": None,
            "linear_attn_config": {
                "kda_layers": [1],
                "full_attn_layers": [2],
                "head_dim": 64,
                "num_heads": 4,
                "short_conv_kernel_size": 4,
            },
            "mlp_layer_types": ["sparse"] * 2,
            "first_k_dense_replace": 0,
            "num_experts": 4,
            "num_experts_per_token": 2,
            "moe_intermediate_size": 256,
            "moe_router_activation_func": "sigmoid",
        },
    ),
    Family("minicpm3", "MiniCPM3Config", LATENT, "byte-fallback"),
    Family(
        "gpt_oss",
        "GptOssConfig",
        # llama.cpp always rounds the bounds of YaRN's ramp.
        local_experts(head_dim=64, sliding_window=16, rope_parameters=YARN | {"truncate": True}),
    ),
    Family("lfm2", "Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
    Family(
        "lfm2_moe",
        "Lfm2MoeConfig",
        experts(layer_types=["conv", "full_attention"], num_dense_layers=1),
    ),
    Family(
        "dots1",
        "Dots1Config",
        ROUTED | {"num_key_value_heads": 4, "first_k_dense_replace": 1, "scoring_func": "sigmoid"},
    ),
    Family(
        "minimax_m2",
        "MiniMaxM2Config",
        local_experts(head_dim=64, rotary_dim=32, scoring_func="sigmoid"),
    ),
    Family(
        "llama4_text",
        "Llama4TextConfig",
        {
            "num_hidden_layers": 4,
            "head_dim": 64,
            "intermediate_size_mlp": 512,
            "num_local_experts": 4,
            "interleave_moe_layer_step": 2,
        },
    ),
    Family(
        "dbrx",
        "DbrxConfig",
        {
            "d_model": 256,
            "n_heads": 4,
            "n_layers": 2,
            "max_seq_len": 512,
            "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10_000.0},
            "ffn_config": {
                "hidden_size": 256,
                "ffn_hidden_size": 256,
                "moe_num_experts": 4,
                "moe_top_k": 2,
            },
        },
    ),
    Family(
        "afmoe",
        "AfmoeConfig",
        experts(
            num_hidden_layers=4,
            head_dim=64,
            sliding_window=16,
            num_shared_experts=1,
            mup_enabled=True,
            route_norm=True,
        ),
    ),
    Family(
        "laguna",
        "LagunaConfig",
        experts(
            num_hidden_layers=4,
            sliding_window=16,
            layer_types=["full_attention"] + ["sliding_attention"] * 3,
            head_dim=64,
            shared_expert_intermediate_size=256,
        ),
    ),
    Family(
        "mellum",
        "MellumConfig",
        local_experts(
            head_dim=64,
            moe_intermediate_size=256,
            # llama.cpp rotates sliding layers at the base of the full ones.
            rope_parameters=dict.fromkeys(SLIDING_AND_FULL, ROPE),
            **SLIDING,
        ),
    ),
    Family(
        "mimo_v2_flash",
        "MiMoV2FlashConfig",
        ROUTED
        | {
            "head_dim": 64,
            "v_head_dim": 64,
            "mlp_layer_types": DENSE_THEN_SPARSE,
            "sliding_window": 16,
            "layer_types": ["full_attention", "sliding_attention"],
            "hybrid_layer_pattern": [0, 1],
            "swa_head_dim": 64,
            "swa_v_head_dim": 64,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 4,
            "topk_method": "noaux_tc",
            "scoring_func": "sigmoid",
            "rope_parameters": {
                "full_attention": HALF_ROPE,
                "sliding_attention": HALF_ROPE | {"rope_theta": 1_000.0},
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    Family("jais2", "Jais2Config", {"head_dim": 64, "num_key_value_heads": 4}),
    Family("hrm_text", "HrmTextConfig", {"head_dim": 64}),
    Family(
        "mistral3",
        "Mistral3Config",
        {
            "text_config": {"model_type": "mistral", "head_dim": 64, "sliding_window": None},
            "vision_config": {"model_type": "pixtral", "head_dim": 16, "image_size": 56}
            | VISION
            | MERGED,
        },
        special=("[IMG_BREAK]",),
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "mistral4",
        "Mistral3Config",
        {
            "text_config": {
                "model_type": "mistral4",
                "rope_parameters": YARN
                | {
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                    "llama_4_scaling_beta": 0.1,
                    # Where llama.cpp begins to scale queries, whatever the file says.
                    "original_max_position_embeddings": 8192,
                },
            }
            | LATENT
            | ROUTED,
            "vision_config": {"model_type": "pixtral", "head_dim": 16, "image_size": 56}
            | VISION
            | MERGED,
        },
        special=("[IMG_BREAK]",),
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "qwen2_vl",
        "Qwen2VLConfig",
        {
            "text_config": {
                # llama.cpp leaves it out.
                "rms_norm_eps": 1e-6,
                "rope_parameters": ROPE | {"mrope_section": [8, 12, 12]},
            },
            "vision_config": {"depth": 3, "embed_dim": 64, "num_heads": 4, "hidden_size": 256},
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "qwen2_5_vl",
        "Qwen2_5_VLConfig",
        {
            "text_config": {
                # llama.cpp leaves it out.
                "rms_norm_eps": 1e-6,
                "rope_parameters": ROPE | {"mrope_section": [8, 12, 12]},
            },
            "vision_config": {
                "depth": 3,
                "hidden_size": 64,
                "num_heads": 4,
                "intermediate_size": 64,
                "out_hidden_size": 256,
                "fullatt_block_indexes": [1],
            },
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "qwen3_vl",
        "Qwen3VLConfig",
        {
            "text_config": {
                "head_dim": 64,
                # Sections which interleaved leave no pair over, that llama.cpp would not rotate.
                "rope_parameters": ROPE
                | {"mrope_section": [11, 11, 10], "mrope_interleaved": True},
            },
            "vision_config": QWEN3_VISION,
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "qwen3_5",
        "Qwen3_5Config",
        {"text_config": GATED_DELTA, "vision_config": QWEN3_VISION},
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "gemma3",
        "Gemma3Config",
        {
            "text_config": {
                "head_dim": 64,
                "query_pre_attn_scalar": 64,
                "sliding_window": 16,
                "num_hidden_layers": 7,
            },
            # As published: what SigLIP pools is not asked for.
            "vision_config": {"image_size": 56, "patch_size": 14, "vision_use_head": False}
            | VISION,
            "mm_tokens_per_image": 4,
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES | {"image_seq_length": 4},
    ),
    Family(
        "gemma4",
        "Gemma4Config",
        {
            "text_config": GEMMA4 | {"pad_token_id": 0},
            "vision_config": {"head_dim": 16, "global_head_dim": 16, "num_key_value_heads": 4}
            | VISION,
            "audio_config": None,
        },
        "byte-fallback-bare",
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "llama4",
        "Llama4Config",
        {
            "text_config": {
                "num_hidden_layers": 4,
                "head_dim": 64,
                "intermediate_size_mlp": 512,
                "num_local_experts": 4,
                "interleave_moe_layer_step": 2,
            },
            "vision_config": {
                "image_size": 28,
                "vision_output_dim": 64,
                "projector_input_dim": 64,
                "projector_output_dim": 64,
            }
            | VISION
            | MERGED
            # A square of pixels becomes one row.
            | {"intermediate_size": 256},
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "qwen3_5_moe",
        "Qwen3_5MoeConfig",
        {
            "text_config": GATED_DELTA | experts(shared_expert_intermediate_size=256),
            "vision_config": QWEN3_VISION,
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "glm4v_moe",
        "Glm4vMoeConfig",
        {
            "text_config": ROUTED
            | {"rope_parameters": HALF_ROPE | {"mrope_section": [4, 6, 6]}, "head_dim": 64},
            "vision_config": GLM_VISION,
        },
        special=GLM_SPECIAL,
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "paddleocr_vl",
        "PaddleOCRVLConfig",
        {
            "text_config": {
                "head_dim": 64,
                "rope_parameters": ROPE | {"mrope_section": [8, 12, 12]},
            },
            "vision_config": VISION | MERGED | {"architectures": ["PaddleOCRVisionModel"]},
        },
        "byte-fallback",
        model_class=IMAGE_TEXT,
        processor=PICTURES | PIXELS,
    ),
    Family(
        "exaone4_5",
        "Exaone4_5_Config",
        {
            "text_config": {
                "model_type": "exaone4",
                "sliding_window": None,
                "layer_types": ["full_attention"] * 2,
            },
            "vision_config": {
                "depth": 3,
                "hidden_size": 64,
                "num_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 64,
                "out_hidden_size": 256,
                "fullatt_block_indexes": [0],
            },
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES | PIXELS,
    ),
    Family(
        "glm4v",
        "Glm4vConfig",
        {
            "text_config": {
                "rope_parameters": ROPE
                | {"mrope_section": [4, 6, 6], "partial_rotary_factor": 0.5},
            },
            "vision_config": GLM_VISION,
        },
        special=GLM_SPECIAL,
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "voxtral",
        "VoxtralConfig",
        {
            "text_config": {"model_type": "llama", "head_dim": 64},
            "audio_config": {
                "num_mel_bins": 80,
                "hidden_size": 64,
                "intermediate_size": 256,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
            },
        },
        model_class="AutoModelForMultimodalLM",
    ),
    Family(
        "qwen2_audio",
        "Qwen2AudioConfig",
        {
            "text_config": {"model_type": "qwen2"},
            "audio_config": {
                "num_mel_bins": 80,
                "d_model": 64,
                "encoder_ffn_dim": 128,
                "encoder_layers": 3,
                "encoder_attention_heads": 4,
            },
        },
        model_class="AutoModelForMultimodalLM",
    ),
    Family(
        "smolvlm",
        "SmolVLMConfig",
        {
            "text_config": {"model_type": "llama", "architectures": ["VLlama3ForCausalLM"]},
            "vision_config": {"image_size": 64, "patch_size": 16} | VISION | MERGED,
            "scale_factor": 2,
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "idefics3",
        "Idefics3Config",
        {
            "text_config": {"model_type": "llama", "architectures": ["VLlama3ForCausalLM"]},
            "vision_config": {"image_size": 64, "patch_size": 16} | VISION | MERGED,
            "scale_factor": 2,
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "lfm2_vl",
        "Lfm2VlConfig",
        {
            "text_config": {
                "model_type": "lfm2",
                "layer_types": ["conv", "full_attention"],
                "architectures": ["Lfm2ForCausalLM"],
            },
            "vision_config": VISION | MERGED | {"vision_use_head": False},
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "internvl",
        "InternVLConfig",
        {
            "text_config": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
            "vision_config": {
                "image_size": [56, 56],
                "patch_size": [14, 14],
                "architectures": ["InternVisionModel"],
            }
            | VISION
            | {"num_hidden_layers": 4},
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
    Family(
        "llava",
        "LlavaConfig",
        {"vision_config": {"model_type": "clip_vision_model", "image_size": 28} | VISION},
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
)

UNLIKE: tuple[Family, ...] = (
    Family(
        "phimoe",
        "PhimoeConfig",
        local_experts(attention_bias=True, lm_head_bias=True),
        "byte-fallback",
        published={
            "architectures": ["PhiMoEForCausalLM"],
            "original_max_position_embeddings": 512,
        },
    ),
    Family("gpt_neox", "GPTNeoXConfig", published={"rotary_pct": 0.25}),
    Family("bitnet", "BitNetConfig", {"tie_word_embeddings": True}, "byte-fallback"),
    Family("hy_v4", "HYV4Config", LATENT | ROUTED),
    Family(
        "qwen3_vl_moe",
        "Qwen3VLMoeConfig",
        {
            "text_config": experts(
                head_dim=64,
                rope_parameters=ROPE | {"mrope_section": [11, 11, 10], "mrope_interleaved": True},
            ),
            "vision_config": QWEN3_VISION,
        },
        model_class=IMAGE_TEXT,
        processor=PICTURES,
    ),
)
"""Families that the converter refuses, or that llama.cpp runs otherwise than transformers."""


def tokenizer_of(family: Family) -> Tokenizer:
    if family.tokenizer.startswith("byte-fallback"):
        return trained_byte_fallback(prefix_space=family.tokenizer == "byte-fallback")
    kept = TOKENS - len(family.special)
    tokenizer = trained_byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), kept)
    tokenizer.add_special_tokens(list(family.special))
    return tokenizer


def write_family(family: Family, folder: Path) -> None:
    """A random model of `family`, the same each time, and its tokenizer, written into `folder`."""
    # Each run of the tests reads this file, and few need what takes seconds to load.
    import torch
    import transformers

    config_class = getattr(transformers, family.config)
    default = config_class()
    text = default.get_text_config()
    known = {key: value for key, value in SHAPE.items() if hasattr(text, key)}
    if text is default:
        config = config_class(**(known | family.changes))
    else:
        own = family.changes.get("text_config", {})
        config = config_class(**(family.changes | {"text_config": known | own}))
    torch.manual_seed(0)
    model = getattr(transformers, family.model_class).from_config(config)
    with torch.no_grad():
        for tensor in dict.fromkeys(model.state_dict(keep_vars=True).values()):
            if tensor.is_floating_point():
                scale = VECTOR_NOISE if tensor.ndim < 2 else MATRIX_NOISE
                tensor.add_(torch.randn_like(tensor) * scale)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    written = folder / "config.json"
    written.write_text(json.dumps(json.loads(written.read_text()) | family.published))
    if family.processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(dict(family.processor)))
    written_tokenizer(tokenizer_of(family), folder)


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny model, made once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            family = next(row for row in (*FAMILIES, *UNLIKE) if row.name == name)
            made[name] = tmp_path_factory.mktemp(name)
            write_family(family, made[name])
        return made[name]

    return make


def main() -> None:
    folder, *names = sys.argv[1:]
    for family in (*FAMILIES, *UNLIKE):
        if family.name in names or (not names and family in FAMILIES):
            write_family(family, Path(folder) / family.name)


if __name__ == "__main__":
    main()
