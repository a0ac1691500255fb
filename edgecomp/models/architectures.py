"""What edgecomp knows of each model family: one row a family.

The names are Hugging Face's (`architectures` in config.json) and GGUF's (`general.architecture`).
A family outside the table can be planned from its headers, and quantized where it comes as GGUF;
only rewriting its weights is refused. How a family's tensors differ between the two worlds was read
from llama.cpp's converter (`conversion/*.py`) and its graphs (`src/models/*.cpp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

COMMON_TENSORS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_output": "self_attn.o_proj",
    "ffn_down": "mlp.down_proj",
}
SEPARATE_TENSORS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
}
LLAMA_TENSORS = {
    **COMMON_TENSORS,
    **SEPARATE_TENSORS,
    "output": "lm_head",
    "ffn_norm": "post_attention_layernorm",
}
HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
MIXTRAL_TENSORS = {
    "ffn_gate_inp": "block_sparse_moe.gate",
    "ffn_gate_exps": "block_sparse_moe.experts.w1",
    "ffn_down_exps": "block_sparse_moe.experts.w2",
    "ffn_up_exps": "block_sparse_moe.experts.w3",
}
QWEN_MOE_TENSORS = {
    **{role: own for role, own in LLAMA_TENSORS.items() if not own.startswith("mlp.")},
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",
    "ffn_down_exps": "mlp.experts.down_proj",
    "ffn_up_exps": "mlp.experts.up_proj",
}
SHARED_EXPERT_TENSORS = {
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
}
GEMMA_TENSORS = {
    **COMMON_TENSORS,
    **SEPARATE_TENSORS,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
PHI3_TENSORS: dict[str, str | None] = {
    **COMMON_TENSORS,
    "output": "lm_head",
    "ffn_norm": "post_attention_layernorm",
    "attn_qkv": "self_attn.qkv_proj",
    "ffn_up": "mlp.gate_up_proj",
    "rope_factors_long": None,
    "rope_factors_short": None,
}
GPT2_TENSORS = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
GEMMA_CONFIG = {"hidden_activation": "gelu_pytorch_tanh"}
GEMMA3_DEFAULTS = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 10_000.0,
}
MOE_CONFIG = {"hidden_act": "silu", "decoder_sparse_step": 1, "mlp_only_layers": []}


@dataclass(frozen=True)
class Architecture:
    """One family. `full_attention_every` = n: of each n layers the last attends to everything and
    the others slide; 0: no layer slides."""

    gguf_name: str
    hf_classes: tuple[str, ...]
    full_attention_every: int = 0
    transposed: tuple[str, ...] = ()
    """GGUF tensor roles whose Hugging Face weight is stored columns first (GPT-2's Conv1D)."""

    interleaved_rope: bool = False
    """True where llama.cpp rotates neighbouring rows of a head (2i, 2i+1) and Hugging Face row i
    with row i + half: the rows of Q and K change places."""

    norm_offset: float = 0.0
    """What llama.cpp's norm weights hold more than Hugging Face's (Gemma multiplies by 1 + w)."""

    expected_config: Mapping[str, object] = field(default_factory=dict)
    """Entries of config.json that llama.cpp takes for granted: with other values the file would
    load and compute something else."""

    config_defaults: Mapping[str, object] = field(default_factory=dict)
    """Entries that published config.json files leave out, and the values they stand for."""

    ignores_sliding_window: bool = False
    """True where the models may have a sliding window and llama.cpp attends to everything."""

    needs_head: bool = False
    """True where llama.cpp refuses a file without a head of its own (output.weight)."""

    hf_type: str | None = None
    """`model_type` in config.json; None where a GGUF file cannot be turned into a checkpoint."""

    hf_tensors: Mapping[str, str | None] = field(default_factory=dict)
    """Hugging Face's name for each GGUF tensor role, within a layer where the role is a layer's; of
    experts, without their number."""

    hf_layers: str = "model.layers"


ARCHITECTURES = (
    Architecture(
        "llama",
        ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"),
        interleaved_rope=True,
        expected_config={"hidden_act": "silu"},
        ignores_sliding_window=True,
        hf_type="llama",
        hf_tensors=LLAMA_TENSORS | MIXTRAL_TENSORS,
    ),
    Architecture(
        "qwen2",
        ("Qwen2ForCausalLM",),
        expected_config={"hidden_act": "silu"},
        ignores_sliding_window=True,
        hf_type="qwen2",
        hf_tensors=LLAMA_TENSORS,
    ),
    Architecture(
        "qwen3",
        ("Qwen3ForCausalLM",),
        expected_config={"hidden_act": "silu", "attention_bias": False},
        ignores_sliding_window=True,
        hf_type="qwen3",
        hf_tensors=LLAMA_TENSORS | HEAD_NORMS,
    ),
    Architecture(
        "qwen2moe",
        ("Qwen2MoeForCausalLM",),
        needs_head=True,
        expected_config=MOE_CONFIG | {"norm_topk_prob": False},
        ignores_sliding_window=True,
        hf_type="qwen2_moe",
        hf_tensors=QWEN_MOE_TENSORS | SHARED_EXPERT_TENSORS,
    ),
    Architecture(
        "qwen3moe",
        ("Qwen3MoeForCausalLM",),
        expected_config=MOE_CONFIG | {"norm_topk_prob": True, "attention_bias": False},
        ignores_sliding_window=True,
        hf_type="qwen3_moe",
        hf_tensors=QWEN_MOE_TENSORS | HEAD_NORMS,
    ),
    Architecture(
        "gemma2",
        ("Gemma2ForCausalLM",),
        full_attention_every=2,
        norm_offset=1.0,
        expected_config=GEMMA_CONFIG,
        hf_type="gemma2",
        hf_tensors=GEMMA_TENSORS,
    ),
    Architecture(
        "gemma3",
        ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"),
        full_attention_every=6,
        norm_offset=1.0,
        expected_config=GEMMA_CONFIG | {"attn_logit_softcapping": None},
        config_defaults=GEMMA3_DEFAULTS,
        hf_type="gemma3_text",
        hf_tensors=GEMMA_TENSORS | HEAD_NORMS,
    ),
    Architecture(
        "phi3",
        ("Phi3ForCausalLM",),
        expected_config={"hidden_act": "silu"},
        ignores_sliding_window=True,
        hf_type="phi3",
        hf_tensors=PHI3_TENSORS,
    ),
    Architecture(
        "gpt2",
        ("GPT2LMHeadModel",),
        transposed=("attn_qkv", "attn_output", "ffn_up", "ffn_down"),
        expected_config={
            "activation_function": "gelu_new",
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
        },
        hf_type="gpt2",
        hf_tensors=GPT2_TENSORS,
        hf_layers="transformer.h",
    ),
)
BY_HF_CLASS = {name: row for row in ARCHITECTURES for name in row.hf_classes}
BY_GGUF_NAME = {row.gguf_name: row for row in ARCHITECTURES}
