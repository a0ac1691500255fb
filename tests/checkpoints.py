"""Checkpoints of a tiny Llama, written by numpy and by hand, for what readers must tell apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

ROWS, WIDTH, FEED_FORWARD, HEADS, KV_HEADS = 32, 16, 24, 4, 2
Weights = dict[str, NDArray[Any]]
CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": ROWS,
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
OMITTED = object()
"""As an entry's value: the entry is left out."""


def llama_weights(layers: int = 2) -> Weights:
    """The weights of a Llama with a head of its own, float16, all different."""
    random = np.random.default_rng(0)
    length = WIDTH // HEADS
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (ROWS, WIDTH),
        "model.norm.weight": (WIDTH,),
        "lm_head.weight": (ROWS, WIDTH),
    }
    for layer in range(layers):
        rows = {
            "input_layernorm": (WIDTH,),
            "post_attention_layernorm": (WIDTH,),
            "self_attn.q_proj": (WIDTH, WIDTH),
            "self_attn.k_proj": (KV_HEADS * length, WIDTH),
            "self_attn.v_proj": (KV_HEADS * length, WIDTH),
            "self_attn.o_proj": (WIDTH, WIDTH),
            "mlp.gate_proj": (FEED_FORWARD, WIDTH),
            "mlp.up_proj": (FEED_FORWARD, WIDTH),
            "mlp.down_proj": (WIDTH, FEED_FORWARD),
        }
        shapes |= {f"model.layers.{layer}.{role}.weight": row for role, row in rows.items()}
    return {name: random.standard_normal(row).astype(np.float16) for name, row in shapes.items()}


def written_config(folder: Path, **changes: object) -> None:
    """config.json of the tiny Llama with some entries changed, or OMITTED."""
    config = {name: value for name, value in (CONFIG | changes).items() if value is not OMITTED}
    (folder / "config.json").write_text(json.dumps(config))


def written_llama(folder: Path, weights: Weights | None = None, **changes: object) -> Path:
    """A folder with the config and one safetensors file of `weights` (default: all of them)."""
    folder.mkdir(parents=True, exist_ok=True)
    written_config(folder, **changes)
    save_file(llama_weights() if weights is None else weights, folder / "model.safetensors")
    return folder


def written_shards(folder: Path, shards: Mapping[str, Weights], index: object = None) -> Path:
    """A folder with the config, shards by file name, and an index of `index`'s weight_map."""
    folder.mkdir(parents=True, exist_ok=True)
    written_config(folder)
    for name, weights in shards.items():
        save_file(weights, folder / name)
    if index is not None:
        text = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "model.safetensors.index.json").write_text(text)
    return folder


def copied_with_equal_head(source: Path, folder: Path) -> Path:
    """A copy of a one-file checkpoint whose head is its embedding over again, and whose config says
    that it is a head of its own."""
    shutil.copytree(source, folder)
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].copy()
    save_file(weights, file, metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return folder
