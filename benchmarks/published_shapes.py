"""Shapes of the models that published speeds are of, as configs, and the names they go by."""

from __future__ import annotations

import re
from typing import Any


def _llama(
    width: int, layers: int, heads: int, kv_heads: int, hidden: int, vocabulary: int, **other: Any
) -> dict[str, Any]:
    config = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "intermediate_size": hidden, "vocab_size": vocabulary, "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
    }  # fmt: skip
    return config | other


QWEN2 = {"architectures": ["Qwen2ForCausalLM"]}
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "head_dim": 128}
TIED = {"tie_word_embeddings": True}

MIXTURE = {"architectures": ["Qwen3MoeForCausalLM"], "head_dim": 64,
           "moe_intermediate_size": 2880, "num_experts": 32, "num_experts_per_tok": 4}  # fmt: skip

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama-2-7B": (r"llama (2 )?7b", _llama(4096, 32, 32, 32, 11008, 32000)),
    "Llama-2-13B": (r"llama (2 )?13b", _llama(5120, 40, 40, 40, 13824, 32000)),
    "Llama-3-8B": (r"llama 3(\.1)? 8b", _llama(4096, 32, 32, 8, 14336, 128256)),
    "Llama-3-70B": (r"llama 3(\.[13])? 70b", _llama(8192, 80, 64, 8, 28672, 128256)),
    "Llama-3.2-1B": (r"llama 3\.2 1b", _llama(2048, 16, 32, 8, 8192, 128256, **TIED)),
    "Llama-3.2-3B": (r"llama 3\.2 3b", _llama(3072, 28, 24, 8, 8192, 128256, **TIED)),
    "Mistral-7B": (r"mistral 7b", _llama(4096, 32, 32, 8, 14336, 32000)),
    "TinyLlama-1.1B": (r"tinyllama 1\.1b", _llama(2048, 22, 32, 4, 5632, 32000)),
    "SmolLM2-135M": (r"smollm2 135m", _llama(576, 30, 9, 3, 1536, 49152, **TIED)),
    "SmolLM2-360M": (r"smollm2 360m", _llama(960, 32, 15, 5, 2560, 49152, **TIED)),
    "Phi-4-mini": (r"phi 4 mini", _llama(3072, 32, 24, 8, 8192, 200064, **TIED)),
    "Qwen2.5-0.5B": (r"qwen2\.5 0\.5b", _llama(896, 24, 14, 2, 4864, 151936, **QWEN2, **TIED)),
    "Qwen2.5-14B": (r"qwen2\.5 14b", _llama(5120, 48, 40, 8, 13824, 152064, **QWEN2)),
    "Qwen3-0.6B": (r"qwen3 0\.6b", _llama(1024, 28, 16, 8, 3072, 151936, **QWEN3, **TIED)),
    "Qwen3-1.7B": (r"qwen3 1\.7b", _llama(2048, 28, 16, 8, 6144, 151936, **QWEN3, **TIED)),
    "Qwen3-4B": (r"qwen3 4b", _llama(2560, 36, 32, 8, 9728, 151936, **QWEN3, **TIED)),
    "Qwen3-8B": (r"qwen3 8b", _llama(4096, 36, 32, 8, 12288, 151936, **QWEN3)),
    "gpt-oss-20b": (r"gpt oss 20b", _llama(2880, 24, 64, 8, 2880, 201088, **MIXTURE)),
}
"""By name: what the rows call it, in small letters with blanks for dashes, and its config."""


SLIDING: dict[str, dict[str, int]] = {
    "gpt-oss-20b": {"sliding_window": 128, "full_attention_every": 2},
}
"""What the configs above cannot say: every other layer sees a window."""


def shape_named(text: str) -> str | None:
    """The shape of the model that a row names; None where none is known."""
    words = re.sub(r"[-_ ]+", " ", text.lower()).replace("llama3", "llama 3")
    words = re.sub(r"^(meta|unsloth|bartowski) ", "", words)
    for name, (pattern, _) in PUBLISHED.items():
        if re.match(rf"{pattern}\b", words):
            return name
    return None
