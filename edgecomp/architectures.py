"""What edgecomp knows of each model family: one row a family.

The names are Hugging Face's (`architectures` in config.json) and GGUF's (`general.architecture`).
A family outside the table can be planned from its headers, and quantized where it comes as GGUF;
only rewriting its weights is refused.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """One family. `full_attention_every` = n: of each n layers the last attends to everything and
    the others slide; 0: no layer slides."""

    gguf_name: str
    hf_classes: tuple[str, ...]
    full_attention_every: int = 0
    transposed: tuple[str, ...] = ()
    """GGUF tensor roles whose Hugging Face weight is stored columns first (GPT-2's Conv1D)."""


ARCHITECTURES = (
    Architecture("llama", ("LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM")),
    Architecture("qwen2", ("Qwen2ForCausalLM",)),
    Architecture("qwen3", ("Qwen3ForCausalLM",)),
    Architecture("qwen2moe", ("Qwen2MoeForCausalLM",)),
    Architecture("qwen3moe", ("Qwen3MoeForCausalLM",)),
    Architecture("gemma2", ("Gemma2ForCausalLM",), full_attention_every=2),
    Architecture(
        "gemma3", ("Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"), full_attention_every=6
    ),
    Architecture("phi3", ("Phi3ForCausalLM",)),
    Architecture(
        "gpt2",
        ("GPT2LMHeadModel",),
        transposed=("attn_qkv", "attn_output", "ffn_up", "ffn_down"),
    ),
)
BY_HF_CLASS = {name: row for row in ARCHITECTURES for name in row.hf_classes}
BY_GGUF_NAME = {row.gguf_name: row for row in ARCHITECTURES}
