"""Models of real shapes as headers alone: config.json and sparse files of the full size."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LLAMA = {"architectures": ["LlamaForCausalLM"], "head_dim": 128}
SHAPES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 576, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
        "vocab_size": 49152, "tie_word_embeddings": True, "max_position_embeddings": 8192,
    },
    "Qwen2.5-7B": {
        "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
        "vocab_size": 152064, "tie_word_embeddings": False, "max_position_embeddings": 32768,
    },
    "Llama-3.1-8B": {
        **LLAMA, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
        "tie_word_embeddings": False, "max_position_embeddings": 131072,
    },
    "Qwen3-30B-A3B": {
        "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 48,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
        "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
        "num_experts_per_tok": 8, "vocab_size": 151936, "tie_word_embeddings": False,
        "max_position_embeddings": 40960,
    },
    "Llama-3.3-70B": {
        **LLAMA, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
        "num_key_value_heads": 8, "intermediate_size": 28672, "vocab_size": 128256,
        "tie_word_embeddings": False, "max_position_embeddings": 131072,
    },
}  # fmt: skip


def tensor_shapes(config: dict[str, Any]) -> dict[str, list[int]]:
    """The Hugging Face tensors of a config, by name."""
    width, vocabulary = config["hidden_size"], config["vocab_size"]
    head = config.get("head_dim", width // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes = {"model.embed_tokens.weight": [vocabulary, width], "model.norm.weight": [width]}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [vocabulary, width]
    kind = config["architectures"][0]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes |= {
            f"{prefix}input_layernorm.weight": [width],
            f"{prefix}post_attention_layernorm.weight": [width],
            f"{prefix}self_attn.q_proj.weight": [queries, width],
            f"{prefix}self_attn.k_proj.weight": [keys, width],
            f"{prefix}self_attn.v_proj.weight": [keys, width],
            f"{prefix}self_attn.o_proj.weight": [width, queries],
        }
        if kind.startswith("Qwen2"):
            for name, rows in (("q", queries), ("k", keys), ("v", keys)):
                shapes[f"{prefix}self_attn.{name}_proj.bias"] = [rows]
        if kind.startswith("Qwen3"):
            shapes[f"{prefix}self_attn.q_norm.weight"] = [head]
            shapes[f"{prefix}self_attn.k_norm.weight"] = [head]
        hidden = config.get("moe_intermediate_size", config["intermediate_size"])
        names = [f"{prefix}mlp."]
        if "num_experts" in config:
            shapes[f"{prefix}mlp.gate.weight"] = [config["num_experts"], width]
            names = [f"{prefix}mlp.experts.{e}." for e in range(config["num_experts"])]
        for name in names:
            shapes[f"{name}gate_proj.weight"] = [hidden, width]
            shapes[f"{name}up_proj.weight"] = [hidden, width]
            shapes[f"{name}down_proj.weight"] = [width, hidden]
    return shapes


def write_headers(folder: Path, config: dict[str, Any]) -> None:
    """A folder that reads like the model; its weights take no space on the disk."""
    (folder / "config.json").write_text(json.dumps(config))
    header, at = {}, 0
    for name, shape in tensor_shapes(config).items():
        size = 2
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + at)


@pytest.fixture(scope="session")
def header_only(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a shape by name, made once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name.replace(".", "-"))
            write_headers(made[name], SHAPES[name])
        return made[name]

    return make
