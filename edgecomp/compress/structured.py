"""Structured pruning: a smaller dense model of the same architecture, which every exporter takes.

Depth: the blocks that change their input least go. Block influence is 1 - mean cosine similarity of
a block's input and output (Men et al. 2024, ShortGPT, arXiv 2403.03853, equation 1).

Width: FFN neurons, groups of heads that share a KV head, and embedding channels, by activations
(Muralidharan et al. 2024, Minitron, arXiv 2407.14679, section 2.2). A neuron or head counts by the
energy it puts into the residual stream, mean a_j^2 |W_:,j|^2; a channel by the mean square of what
the blocks read from it, summed over blocks, since all blocks must drop the same channels.

A pruned model needs healing: distil it from its original (distill.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from edgecomp.common.atomic import write_text
from edgecomp.common.errors import ArchitectureUnsupported, CompressionSettingsInvalid
from edgecomp.common.events import Progress, ignore_progress
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.compress import destination as output
from edgecomp.compress.blocks import Block, walk
from edgecomp.compress.checkpoint import copy_companions, read_tensor, write_index, write_shard
from edgecomp.compress.rtn import mean_squares
from edgecomp.models.huggingface.model import read_json, stored_tensors
from edgecomp.recipes.smaller_model import Sizes

Axis = Literal["heads", "kv", "ffn", "width"] | None

AXES: dict[str, tuple[Axis, ...]] = {
    "embed_tokens.weight": (None, "width"),
    "lm_head.weight": (None, "width"),
    "norm.weight": ("width",),
    "input_layernorm.weight": ("width",),
    "post_attention_layernorm.weight": ("width",),
    "q_norm.weight": (None,),
    "k_norm.weight": (None,),
    "q_proj.weight": ("heads", "width"),
    "k_proj.weight": ("kv", "width"),
    "v_proj.weight": ("kv", "width"),
    "o_proj.weight": ("width", "heads"),
    "q_proj.bias": ("heads",),
    "k_proj.bias": ("kv",),
    "v_proj.bias": ("kv",),
    "o_proj.bias": ("width",),
    "gate_proj.weight": ("ffn", "width"),
    "up_proj.weight": ("ffn", "width"),
    "down_proj.weight": ("width", "ffn"),
}
"""What each dimension of a tensor runs over, by the end of its name (Llama, Mistral, Qwen)."""

NARROWED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")


class Importance(FrozenModel):
    """What each part of a model contributes on the calibration; larger is more."""

    schema_version: Literal[1] = 1
    blocks: tuple[float, ...]
    """Block influence, [layers]."""

    neurons: tuple[tuple[float, ...], ...]
    """FFN neurons, [layers][intermediate size]; empty where the family has no known width."""

    kv_groups: tuple[tuple[float, ...], ...]
    """Heads that share a KV head, [layers][KV heads]."""

    channels: tuple[float, ...]
    """Embedding channels, [hidden size]."""


def measure_importance(
    checkpoint: Path, tokens: Tensor, *, device: str = "cpu", progress: Progress = ignore_progress
) -> Importance:
    """Measure what the parts of a float checkpoint contribute; tokens int64 [samples, length].

    Raises what `walk` raises.
    """
    blocks: list[float] = []
    neurons: list[Tensor] = []
    groups: list[Tensor] = []
    channels: list[Tensor] = []

    def measure(block: Block) -> None:
        similar = [
            torch.cosine_similarity(batch, block.run(batch), dim=-1).flatten()
            for batch in block.batches()
        ]
        blocks.append(1 - float(torch.cat(similar).mean()))
        if "mlp.down_proj" not in block.linears or "self_attn.q_proj" not in block.linears:
            return
        means = mean_squares(block)
        down, output = (block.linears[name] for name in ("mlp.down_proj", "self_attn.o_proj"))
        neurons.append(means["mlp.down_proj"] * down.weight.square().sum(dim=0))
        columns = means["self_attn.o_proj"] * output.weight.square().sum(dim=0)
        groups.append(columns.view(block.config.num_key_value_heads, -1).sum(dim=1))
        channels.append(means["self_attn.q_proj"] + means["mlp.up_proj"])

    walk(checkpoint, tokens, measure, device=device, progress=progress)
    return Importance(
        blocks=tuple(blocks),
        neurons=tuple(tuple(row.tolist()) for row in neurons),
        kv_groups=tuple(tuple(row.tolist()) for row in groups),
        channels=tuple(torch.stack(channels).sum(dim=0).tolist()) if channels else (),
    )


def prune(checkpoint: Path, destination: Path, importance: Importance, sizes: Sizes) -> None:
    """Write the smaller model that keeps the most important parts of a float checkpoint.

    Raises CompressionSettingsInvalid for sizes that are none, ArchitectureUnsupported where the
    family's tensors are not known, ModelIncomplete, FileCorrupt, NotWritable, DiskFull.
    """
    output.require_empty(destination)
    config = read_json(checkpoint / "config.json")
    if sizes.narrows and config["architectures"][0] not in NARROWED:
        raise ArchitectureUnsupported(config["architectures"][0], "made narrower", list(NARROWED))
    blocks = _best(importance.blocks, sizes.blocks, "blocks").tolist()
    _refuse_mixed_attention(config, blocks)
    stored = stored_tensors(checkpoint)
    shards: dict[str, list[str]] = {}
    size_bytes = 0
    for new, old in enumerate([None, *blocks]):
        kept = _kept(config, importance, sizes, old) if sizes.narrows else {}
        tensors = {
            _renumbered(name, new - 1): _slice(read_tensor(tensor), name, kept)
            for name, tensor in stored.items()
            if _block_number(name) == old
        }
        file = output.shard_name(new, len(blocks))
        write_shard(destination / file, tensors)
        shards[file] = list(tensors)
        size_bytes += sum(tensor.nbytes for tensor in tensors.values())
    copy_companions(checkpoint, destination, None)
    changed = json.dumps(_pruned_config(config, blocks, sizes), indent=2)
    write_text(destination / "config.json", changed + "\n")
    write_index(destination, shards, size_bytes)


def _head_sizes(config: dict[str, Any]) -> tuple[int, int]:
    """Columns of a head, and query heads that share a KV head."""
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    return head, heads // int(config.get("num_key_value_heads") or heads)


def _kept(
    config: dict[str, Any], importance: Importance, sizes: Sizes, block: int | None
) -> dict[Axis, Tensor]:
    """The indices that stay along each axis of the tensors of `block` (None: outside blocks)."""
    kept: dict[Axis, Tensor] = {"width": _best(importance.channels, sizes.channels, "channels")}
    if block is not None:
        head, shared = _head_sizes(config)
        groups = _best(importance.kv_groups[block], sizes.kv_groups, "KV heads")
        kept["ffn"] = _best(importance.neurons[block], sizes.neurons, "FFN neurons")
        kept["kv"] = _columns(groups, head)
        kept["heads"] = _columns(groups, head * shared)
    return kept


def _slice(tensor: Tensor, name: str, kept: dict[Axis, Tensor]) -> Tensor:
    if not kept:
        return tensor
    axes = AXES.get(".".join(name.split(".")[-2:]))
    if axes is None:
        raise ArchitectureUnsupported(f"with a tensor {name}", "made narrower", list(NARROWED))
    for dimension, axis in enumerate(axes):
        if axis in kept:
            tensor = tensor.index_select(dimension, kept[axis])
    return tensor


def _pruned_config(config: dict[str, Any], blocks: list[int], sizes: Sizes) -> dict[str, Any]:
    layers = "n_layer" if "n_layer" in config else "num_hidden_layers"
    changed = config | {layers: len(blocks)}
    if config.get("layer_types"):
        changed["layer_types"] = [config["layer_types"][block] for block in blocks]
    if sizes.narrows:
        head, shared = _head_sizes(config)
        changed["head_dim"] = head
        changed["hidden_size"] = sizes.channels or config["hidden_size"]
        changed["intermediate_size"] = sizes.neurons or config["intermediate_size"]
    if sizes.kv_groups:
        changed["num_key_value_heads"] = sizes.kv_groups
        changed["num_attention_heads"] = sizes.kv_groups * shared
    return changed


def _refuse_mixed_attention(config: dict[str, Any], blocks: list[int]) -> None:
    """GGUF does not store which layers slide, but a fixed rhythm that dropping blocks breaks."""
    kinds = config.get("layer_types") or []
    if len(set(kinds)) > 1 and [kinds[block] for block in blocks] != kinds[: len(blocks)]:
        raise CompressionSettingsInvalid(
            "Some layers of this model attend to a sliding window in a fixed rhythm, which "
            "dropping blocks would break. Prune its width, or drop blocks from the end."
        )


def _block_number(name: str) -> int | None:
    return next((int(part) for part in name.split(".") if part.isdigit()), None)


def _renumbered(name: str, number: int) -> str:
    """The name with another block's number, its first; a second one is an expert's."""
    return re.sub(r"(?<=\.)\d+(?=\.)", str(number), name, count=1)


def _best(scores: Sequence[float], count: int | None, what: str) -> Tensor:
    """Indices, ascending, of the `count` highest scores."""
    count = len(scores) if count is None else count
    if not 0 < count <= len(scores):
        raise CompressionSettingsInvalid(
            f"{count} {what} cannot be kept of {len(scores)}. "
            f"Give a number from 1 to {len(scores)}."
        )
    found: Tensor = torch.tensor(scores, dtype=torch.float64).topk(count).indices.sort().values
    return found


def _columns(groups: Tensor, size: int) -> Tensor:
    """The `size` columns of each group."""
    return (groups[:, None] * size + torch.arange(size)).flatten()
