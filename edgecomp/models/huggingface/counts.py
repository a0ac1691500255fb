"""Whether the counts in config.json are those of the weights that are stored.

A count decides how long loops run and how much is reserved, so none is believed that the tensors
contradict: each layer has a tensor of its own, and no dimension is longer than all weights
together. For a family that is known, the shapes must agree exactly, as loading would require.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgecomp.common.errors import FileCorrupt, ModelIncomplete
from edgecomp.models.huggingface.config_entries import ADVICE
from edgecomp.models.safetensors_header import StoredTensor
from edgecomp.models.spec import EMBEDDING, OUTPUT, TensorSpec

DIMENSIONS = (
    "hidden_size", "n_embd", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim",
    "intermediate_size", "n_inner", "vocab_size", "num_local_experts", "num_experts",
    "num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size",
)  # fmt: skip
PROJECTION = re.compile(r"blk\.\d+\.(attn_q|attn_k|attn_v|attn_qkv)\.weight")


def require_stored(
    config: dict[str, Any], path: Path, layers: int, stored: Mapping[str, StoredTensor]
) -> None:
    """Raises ModelIncomplete where the config at `path` promises more layers than there are
    tensors, and FileCorrupt where a dimension exceeds all that is stored."""
    if layers > len(stored):
        raise ModelIncomplete(
            path.parent,
            f"config.json promises {layers} layers, and its files hold {len(stored)} tensors.",
            "Download the files that are missing, or restore the model's own config.json.",
        )
    elements = sum(math.prod(tensor.shape) for tensor in stored.values())
    for name in DIMENSIONS:
        if (config.get(name) or 0) > elements:
            fault = f"its {name} is {config[name]}, and all its weights are {elements} numbers."
            raise FileCorrupt(path, fault, ADVICE)


def require_shapes(
    config: dict[str, Any],
    path: Path,
    tensors: Sequence[TensorSpec],
    attention: tuple[int, int, int],
) -> None:
    """Raises FileCorrupt, naming both numbers, where the tensors of a known family have other
    shapes than the config at `path` says. `attention`: heads, heads for keys and values, and the
    length of each."""
    width = config.get("hidden_size") or config.get("n_embd")
    heads, kv_heads, length = attention
    rows = {
        "attn_q": heads * length,
        "attn_k": kv_heads * length,
        "attn_v": kv_heads * length,
        "attn_qkv": (heads + 2 * kv_heads) * length,
    }
    for tensor in tensors:
        fault = None
        projection = PROJECTION.fullmatch(tensor.name)
        if tensor.name == EMBEDDING and tensor.shape[-1] != width:
            fault = f"its width is {width}, and the embedding has {tensor.shape[-1]} columns."
        elif tensor.name in (EMBEDDING, OUTPUT) and config.get("vocab_size"):
            if tensor.shape[0] != config["vocab_size"]:
                fault = (
                    f"its vocab_size is {config['vocab_size']}, and {tensor.source_name} has "
                    f"{tensor.shape[0]} rows."
                )
        elif projection and tensor.shape[0] != rows[projection[1]]:
            fault = (
                f"its {heads} heads and {kv_heads} for keys and values, of length {length}, make "
                f"{rows[projection[1]]} rows, and {tensor.source_name} has {tensor.shape[0]}."
            )
        if fault:
            raise FileCorrupt(path, fault, ADVICE)
