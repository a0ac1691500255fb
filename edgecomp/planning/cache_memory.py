"""Bytes of llama.cpp's KV cache and recurrent states."""

from __future__ import annotations

from edgecomp.models.spec import ModelSpec
from edgecomp.models.tensor_types import TENSOR_TYPES
from edgecomp.recipes.run_settings import RunSettings

CELL_PADDING = 256
"""llama.cpp rounds the KV cache up to this many cells."""


def pad_cells(cells: int) -> int:
    """Cells as llama.cpp allocates them."""
    return -(-cells // CELL_PADDING) * CELL_PADDING


def kv_cells(model: ModelSpec, layer: int, settings: RunSettings) -> int:
    """Cells of one layer's cache: a sliding layer keeps its window and one batch."""
    cells = pad_cells(settings.context)
    if model.slides(layer) and model.sliding_window:
        per_sequence = model.sliding_window * settings.sequences + settings.micro_batch
        return min(cells, pad_cells(per_sequence))
    return cells


def kv_layer_bytes(model: ModelSpec, settings: RunSettings) -> list[int]:
    """Bytes of each layer: cells x the keys and values of a token in the cache's types, and the
    float32 states of each sequence. Without flash attention values lie transposed, in all layers
    with as many rows as the widest has."""
    keys, values = TENSOR_TYPES[settings.key_type], TENSOR_TYPES[settings.value_type]
    caches = model.layer_caches or [model.usual_cache] * model.layers
    widest = max((cache.value_values for cache in caches), default=0)
    found = []
    for layer, cache in enumerate(caches):
        rows = cache.value_values if settings.flash_attention else widest
        cell = keys.size_bytes(cache.key_values) + values.size_bytes(rows)
        cells = kv_cells(model, layer, settings) if cache.key_values else 0
        found.append(cell * cells + 4 * cache.state_values * settings.sequences)
    return found


def kv_cache_bytes(model: ModelSpec, settings: RunSettings) -> int:
    """Sum over all layers."""
    return sum(kv_layer_bytes(model, settings))
