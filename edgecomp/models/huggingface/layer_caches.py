"""What each layer of a checkpoint keeps in llama.cpp, as config.json says: of families without a
row here, whose GGUF does not exist yet.

Once llama.cpp's converter has written the file, models/gguf/layer_caches.py reads the same there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgecomp.models.gguf.layer_caches import (
    ATTENDS_TOO,
    CHUNK_TOKENS,
    EVERY_LAYER_RECURS,
    READS_A_PATTERN,
    USUAL_PATTERNS,
)
from edgecomp.models.layer_cache import LayerCache, convolution_values, uneven

Config = dict[str, Any]

SLIDING = ("sliding_attention", "chunked_attention")
RECURRING = ("linear_attention", "mamba", "conv", "short_conv")
LETTERS = {"M": "mamba", "*": "full_attention", "-": "mlp", "E": "moe"}
"""Nemotron-H's `hybrid_override_pattern`."""

ONLY_FEEDING = ("mlp", "moe")
HEADS_FIRST = ("minicpm3", "plm")
"""Families for which llama.cpp keeps MLA's heads; of others its latent rows."""


def kinds_of_layers(config: Config, layers: int) -> tuple[str, ...]:
    """Each layer's kind in transformers' words; nothing where the config does not tell them."""
    listed = config.get("layer_types") or config.get("layers_block_type")
    if isinstance(listed, list) and len(listed) == layers:
        return tuple(map(str, listed))
    letters = config.get("hybrid_override_pattern")
    if isinstance(letters, str) and len(letters) == layers:
        return tuple(LETTERS.get(letter, "mlp") for letter in letters)
    interval, offset = config.get("full_attention_interval"), None
    if interval is None:
        interval, offset = config.get("attn_layer_period"), config.get("attn_layer_offset", 0)
    if isinstance(interval, int) and interval > 0:
        attends = interval - 1 if offset is None else offset
        return tuple(
            "full_attention" if layer % interval == attends else "linear_attention"
            for layer in range(layers)
        )
    attending = config.get("full_attn_idxs") or config.get("attn_layer_indices")
    if isinstance(attending, list):
        return tuple(
            "full_attention" if layer in attending else "linear_attention"
            for layer in range(layers)
        )
    return ()


def sliding_of(config: Config, family: str, layers: int) -> tuple[int | None, tuple[bool, ...]]:
    """The window, and one entry a layer, True where it slides; none where no layer does."""
    window = config.get("sliding_window")
    if family in CHUNK_TOKENS:
        window = CHUNK_TOKENS[family]
    if family not in READS_A_PATTERN or not isinstance(window, int) or window <= 0:
        return None, ()
    kinds = kinds_of_layers(config, layers)
    usual = USUAL_PATTERNS.get(family)
    if kinds:
        slides = tuple(kind in SLIDING for kind in kinds)
    elif usual:
        slides = tuple(usual.slides(layer) for layer in range(layers))
    else:
        return None, ()
    return (window, slides) if any(slides) else (None, ())


def layer_caches_of(
    config: Config, family: str, layers: int, usual: LayerCache, rows: Mapping[str, int]
) -> tuple[LayerCache, ...]:
    """What each layer keeps; nothing where it is `usual` in every one. `rows`: of each stored
    matrix, by GGUF name; a layer's own projections say more than the config does."""
    kinds = kinds_of_layers(config, layers)
    count = _counter(config)
    state = _state_values(config, count)
    if family in EVERY_LAYER_RECURS or not usual.key_values:
        kept = usual if family in ATTENDS_TOO else LayerCache()
        return uneven([kept.model_copy(update={"state_values": state})] * layers, usual)
    attention = _attention_cache(count, family)
    shared = layers - count("num_kv_shared_layers")
    caches = []
    for layer in range(layers):
        kind = kinds[layer] if kinds else ""
        if kind in RECURRING:
            caches.append(LayerCache(state_values=state))
        elif kind in ONLY_FEEDING or layer >= shared:
            caches.append(LayerCache())
        else:
            caches.append(attention or _projected(layer, rows, usual, count("index_head_dim")))
    return uneven(caches, usual)


def _projected(layer: int, rows: Mapping[str, int], usual: LayerCache, indexer: int) -> LayerCache:
    """As many keys and values as the layer's projections make."""
    keys = rows.get(f"blk.{layer}.attn_k.weight", usual.key_values)
    values = rows.get(f"blk.{layer}.attn_v.weight", usual.value_values)
    return LayerCache(key_values=keys + indexer, value_values=values)


def _counter(config: Config) -> Callable[..., int]:
    def count(*names: str) -> int:
        values = (config.get(name) for name in names)
        return next((value for value in values if type(value) is int and value > 0), 0)

    return count


def _attention_cache(count: Callable[..., int], family: str) -> LayerCache | None:
    """What a layer of latent attention keeps; None where attention is another."""
    latent, rotary = count("kv_lora_rank"), count("qk_rope_head_dim")
    if not latent:
        return None
    if family not in HEADS_FIRST:
        return LayerCache(key_values=latent + rotary + count("index_head_dim"))
    heads = count("num_attention_heads")
    keys = heads * (count("qk_nope_head_dim") + rotary)
    return LayerCache(key_values=keys, value_values=heads * count("v_head_dim"))


def _state_values(config: Config, count: Callable[..., int]) -> int:
    """float32 numbers of a recurrent layer's states of one sequence."""
    width = count("hidden_size")
    if kernel := count("conv_L_cache"):
        return width * (kernel - 1)
    if heads := count("linear_num_value_heads"):
        inner, state = heads * count("linear_value_head_dim"), count("linear_key_head_dim")
        kernel, groups = count("linear_conv_kernel_dim"), count("linear_num_key_heads")
        return convolution_values(kernel, inner, groups, state) + state * inner
    heads, length = count("mamba_n_heads", "mamba_num_heads", "num_heads"), 0
    if heads:
        length = count("mamba_d_head", "mamba_head_dim", "head_dim")
    inner = heads * length or width * count("mamba_expand", "expand")
    state = count("mamba_d_state", "ssm_state_size", "state_size")
    kernel = count("mamba_d_conv", "conv_kernel")
    groups = count("mamba_n_groups", "n_groups") if heads else 0
    return convolution_values(kernel, inner, groups, state) + state * inner
