"""Attention in llama.cpp's graphs (build_qkv, build_attn and build_attn_mha of src/llama-graph.cpp;
latent attention as in src/models/deepseek2.cpp)."""

from __future__ import annotations

from typing import NamedTuple

from edgecomp.planning.graph_builder import Cache, GraphBuilder, Layer
from edgecomp.planning.graph_indexer import chosen_cells, mask_of_chosen
from edgecomp.planning.graph_memory import Value


class Projected(NamedTuple):
    """What attention begins with; keys and values are missing where an earlier layer's serve, a
    gate where nothing weighs what was looked up."""

    query: Value
    key: Value | None
    value: Value | None
    gate: Value | None = None


def attention(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value:
    """What layer `index` makes of its normed states `x`, by the tokens that each looks at."""
    cache = graph.caches[graph.model.slides(index)]
    if "attn_kv_a_mqa.weight" in layer:
        return _latent_attention(graph, x, layer, cache)
    query, key, value, gate = _projected(graph, x, layer)
    if "attn_gate.weight" in layer:
        gate = graph.product(x, layer, "attn_gate")
    rotates = graph.rotates(layer, index)
    query = _positioned(graph, query, layer, "attn_q_norm", rotates=rotates)
    key = key and _positioned(graph, key, layer, "attn_k_norm", rotates=rotates)
    y = _looked_up(graph, Projected(query, key, value), cache, layer["attn_output.weight"][-1])
    if gate is not None:
        copied = graph.new(gate.shape, gate) if gate.root else gate
        y = graph.over(y.shape, y, graph.over(gate.shape, copied))
    return graph.product(y, layer, "attn_output")


def _projected(graph: GraphBuilder, x: Value, layer: Layer) -> Projected:
    attended = (layer["attn_output.weight"][-1], graph.tokens)
    if "attn_qkv.weight" in layer:
        joined = graph.product(x, layer, "attn_qkv")
        others = ((joined.shape[0] - attended[0]) // 2, graph.tokens)
        return Projected(*(graph.view(joined, shape) for shape in (attended, others, others)))
    query, gate = _reshaped(graph, x, layer, "attn_q"), None
    if query.shape[0] == 2 * attended[0]:
        query, gate = (graph.view(query, attended) for _ in range(2))
    if "attn_k.weight" not in layer:
        return Projected(query, None, None, gate)
    key = _reshaped(graph, x, layer, "attn_k")
    if "attn_v.weight" in layer:
        value = _reshaped(graph, x, layer, "attn_v")
    else:
        value = graph.over(key.shape, key)  # The keys serve, normed.
    return Projected(query, key, value, gate)


def _reshaped(graph: GraphBuilder, x: Value, layer: Layer, name: str) -> Value:
    y = graph.product(x, layer, name)
    return graph.view(y, y.shape)


def _positioned(graph: GraphBuilder, x: Value, layer: Layer, norm: str, *, rotates: bool) -> Value:
    """Normed by head where the layer does that, and rotated."""
    if f"{norm}.weight" in layer:
        x = graph.norm(x, x.shape, layer, norm)
    return graph.over(x.shape, x, graph.positions) if rotates else x


def _looked_up(graph: GraphBuilder, projected: Projected, cache: Cache, rows: int) -> Value:
    """Keys and values put into the cache, and what the queries find there: `rows` a token."""
    query, key, value, _ = projected
    if cache.key_turn is not None:
        query = _turned(graph, query, cache.key_turn)
        key = key and _turned(graph, key, cache.key_turn)
    if cache.value_turn is not None:
        value = value and _turned(graph, value, cache.value_turn)
    order = (query, key, value) if True in graph.caches else (query, value, key)
    for part in order:
        if part is not None:
            graph.graph.expand(part)
    _store(graph, key, cache.key_places)
    _store(graph, value, cache.value_places)
    y = _scored(graph, query, cache, rows)
    return y if cache.value_turn is None else _turned(graph, y, cache.value_turn)


def _store(graph: GraphBuilder, rows: Value | None, places: Value | None) -> None:
    if rows is None or places is None:
        return
    if places.shape[0] > graph.tokens:  # Value by value.
        rows = _in_one(graph, rows)
    graph.keep(graph.view(rows, rows.shape), places)


def _turned(graph: GraphBuilder, x: Value, turn: Value) -> Value:
    x = _in_one(graph, x)
    return graph.view(graph.new(x.shape, turn, graph.view(x, x.shape)), x.shape)


def _in_one(graph: GraphBuilder, x: Value) -> Value:
    """A copy of what is a part of other rows."""
    return graph.new(x.shape, x) if x.root is not None and x.root.shape != x.shape else x


def _scored(
    graph: GraphBuilder, query: Value, cache: Cache, rows: int, narrow: int | None = None
) -> Value:
    """What the queries find: `rows` a token, made of `narrow` ones by a matrix a head if given."""
    tokens, found = graph.tokens, narrow or rows
    read = graph.view(graph.view(query, query.shape), query.shape)
    if graph.settings.flash_attention:
        y = graph.new((found, tokens), read, cache.mask)
        if narrow:
            y = graph.new((rows, tokens), graph.view(y, y.shape))
            y = graph.new((rows, tokens), graph.view(y, y.shape))
    else:
        shape = (cache.cells, tokens, graph.model.heads)
        y = graph.over(shape, graph.new(shape, read), cache.mask)
        y = graph.new((found, tokens), y)
        y = graph.new((rows, tokens), y) if narrow else y
        y = graph.new((rows, tokens), graph.view(y, y.shape))
    y = graph.view(y, y.shape)
    graph.graph.expand(y)
    return y


def _latent_attention(graph: GraphBuilder, x: Value, layer: Layer, cache: Cache) -> Value:
    """Keys and values out of one narrow row a token, and a part of the key that is rotated."""
    query, narrow_query = _latent_query(graph, x, layer)
    if "indexer.attn_k.weight" in layer:
        graph.chosen = chosen_cells(graph, x, narrow_query, layer, cache)
    if graph.chosen is not None:
        cache = cache._replace(mask=mask_of_chosen(graph, graph.chosen, cache))
    joined = graph.product(x, layer, "attn_kv_a_mqa")
    narrow = (layer["attn_kv_a_norm.weight"][-1], graph.tokens)
    turned = (joined.shape[0] - narrow[0], graph.tokens)
    key_turned = _turned_by_place(graph, graph.view(joined, turned))
    latent = graph.norm(graph.view(joined, narrow), narrow, layer, "attn_kv_a_norm")
    rows = layer["attn_output.weight"][-1]
    if "attn_k_b.weight" in layer:
        y = _absorbed(graph, query, latent, key_turned, cache, rows)
    else:
        values = (rows, graph.tokens)
        both = graph.product(latent, layer, "attn_kv_b")
        value = graph.new(values, graph.view(both, values))
        heads = graph.model.heads
        repeated = graph.new((heads * turned[0], graph.tokens), key_turned)
        plain = graph.view(both, (both.shape[0] - rows, graph.tokens))
        key = graph.new(query.shape, plain, repeated)
        query = _turned_by_place(graph, query)
        y = _looked_up(graph, Projected(query, key, value), cache, rows)
    return graph.product(y, layer, "attn_output")


def _turned_by_place(graph: GraphBuilder, x: Value) -> Value:
    return graph.over(x.shape, x, graph.positions) if graph.rotates({}, 0) else x


def _latent_query(graph: GraphBuilder, x: Value, layer: Layer) -> tuple[Value, Value]:
    """The queries, and the narrow rows that they are made of."""
    if "attn_q_a.weight" not in layer:
        return _reshaped(graph, x, layer, "attn_q"), x
    narrow = graph.product(x, layer, "attn_q_a")
    narrow = graph.norm(narrow, narrow.shape, layer, "attn_q_a_norm")
    return _reshaped(graph, narrow, layer, "attn_q_b"), narrow


def _absorbed(
    graph: GraphBuilder, query: Value, latent: Value, key_turned: Value, cache: Cache, rows: int
) -> Value:
    """Attention on the narrow rows themselves, which are all that is kept."""
    tokens, heads = graph.tokens, graph.model.heads
    narrow, turned = latent.shape[0], key_turned.shape[0]
    apart, plain = (heads * turned, tokens), (query.shape[0] - heads * turned, tokens)
    query_turned = _turned_by_place(graph, graph.view(query, apart))
    absorbed = graph.new((heads * narrow, tokens), graph.view(query, plain))
    absorbed = graph.view(absorbed, absorbed.shape)
    query = graph.new((heads * (narrow + turned), tokens), absorbed, query_turned)
    value = graph.view(latent, latent.shape)
    key = graph.new((narrow + turned, tokens), value, key_turned)
    for part in (query, value, key):
        graph.graph.expand(part)
    graph.keep(graph.view(key, key.shape), cache.key_places)
    return _scored(graph, query, cache, rows, heads * narrow)
