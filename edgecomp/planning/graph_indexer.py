"""Cells that an indexer chooses for attention in llama.cpp's graphs (src/models/deepseek32.cpp, and
build_attn for a cache with an indexer's in src/llama-graph.cpp)."""

from __future__ import annotations

from edgecomp.planning.graph_builder import Cache, GraphBuilder, Layer
from edgecomp.planning.graph_memory import Value


def chosen_cells(
    graph: GraphBuilder, x: Value, narrow_query: Value, layer: Layer, cache: Cache
) -> Value:
    """The cells that score highest, by keys of the indexer's own cache."""
    tokens = graph.tokens
    if graph.indexer is None:
        length = layer["indexer.attn_k.weight"][0]
        flash = graph.settings.flash_attention
        graph.indexer = (
            graph.input((tokens,), 8),
            graph.input((cache.cells, tokens), 2 if flash else 4),
            graph.input((length & -length,) * 2),
        )
    places, mask, turn = graph.indexer
    key = graph.product(x, layer, "indexer.attn_k")
    key = graph.norm(key, key.shape, layer, "indexer.k_norm")
    key = graph.over(key.shape, graph.view(key, key.shape), graph.positions)
    key = graph.new(key.shape, turn, key)
    graph.keep(graph.view(key, key.shape), places)
    query = graph.product(narrow_query, layer, "indexer.attn_q_b")
    query = graph.over(query.shape, graph.view(query, query.shape), graph.positions)
    query = graph.new(query.shape, turn, query)
    weights = graph.product(x, layer, "indexer.proj")
    weights = graph.over(weights.shape, graph.view(weights, weights.shape))
    scores = graph.new((cache.cells, tokens), graph.view(query, query.shape), weights, mask)
    best = (min(cache.cells, graph.model.cells_chosen), tokens)
    return graph.new(best, graph.new(best, scores))


def mask_of_chosen(graph: GraphBuilder, chosen: Value, cache: Cache) -> Value:
    """A mask of the chosen cells alone."""
    size = 2 if graph.settings.flash_attention else 4
    nothing = graph.new(cache.mask.shape, cache.mask, item_bytes=size)
    zeros = graph.over(chosen.shape, graph.input(chosen.shape))
    unmasked = Value(nothing.shape, (zeros, chosen, nothing), view_of=nothing)
    return graph.new(cache.mask.shape, unmasked, cache.mask, item_bytes=size)
