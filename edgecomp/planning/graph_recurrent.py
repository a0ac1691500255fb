"""Layers that remember in llama.cpp's graphs: Mamba (src/models/mamba-base.cpp), Gated DeltaNet
(src/models/delta-net-base.cpp, qwen35.cpp and qwen3next.cpp), short convolutions (lfm2.cpp)."""

from __future__ import annotations

from edgecomp.planning.graph_builder import GraphBuilder, Layer
from edgecomp.planning.graph_memory import Value


def scanned(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value:
    """Mamba's layer `index`: states driven by a part of the projected rows, weighed by another."""
    inner = (layer["ssm_out.weight"][-1], graph.tokens)
    joined = graph.product(x, layer, "ssm_in")
    driven = _convolved(graph, graph.view(joined, inner), layer)
    if "ssm_x.weight" in layer:
        step, *rest = _narrow_steps(graph, driven, layer)
        through = graph.view(driven, inner)
    else:
        heads = (layer["ssm_dt.bias"][-1], graph.tokens)
        step = graph.over(heads, graph.new(heads, graph.view(joined, heads)))
        rest = [graph.view(driven, inner), graph.view(driven, inner)]
        through = graph.view(driven, inner)
    kept = _kept_values(graph, layer, index) * graph.settings.sequences
    read = (graph.view(driven, inner), step, *rest, graph.state_places)
    found = graph.new((inner[0] * inner[1] + kept,), *read)
    graph.graph.expand(found)
    graph.keep(graph.view(found, (kept,)))
    y = graph.over(inner, graph.view(found, inner), graph.over(inner, through))
    y = graph.new(inner, graph.new(inner, graph.view(joined, inner)), y)
    if "ssm_norm.weight" in layer:
        y = graph.norm(graph.view(y, inner), inner, layer, "ssm_norm")
    y = graph.product(graph.view(y, inner), layer, "ssm_out")
    return graph.view(y, y.shape) if "ssm_x.weight" in layer else y


def _narrow_steps(graph: GraphBuilder, driven: Value, layer: Layer) -> list[Value]:
    """Mamba 1's step sizes, and what it reads states by, out of few rows a token."""
    narrow = graph.product(driven, layer, "ssm_x")
    rank = (layer["ssm_dt.weight"][-1], graph.tokens)
    states = ((narrow.shape[0] - rank[0]) // 2, graph.tokens)
    parts = [graph.view(narrow, shape) for shape in (rank, states, states)]
    if "ssm_dt_norm.weight" in layer:
        for place, name in enumerate(("ssm_dt_norm", "ssm_b_norm", "ssm_c_norm")):
            parts[place] = graph.norm(parts[place], parts[place].shape, layer, name)
    else:
        parts[0] = graph.new(rank, parts[0])
    return [graph.product(parts[0], layer, "ssm_dt"), *parts[1:]]


def delta_net(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value:
    """Gated DeltaNet's layer `index`: a state a head, by convolved queries, keys and values."""
    inner = (layer["ssm_out.weight"][-1], graph.tokens)
    keys = ((layer["ssm_conv1d.weight"][-2] - inner[0]) // 2, graph.tokens)
    graph.graph.expand(x)
    rows, through = _delta_rows(graph, x, layer, inner, keys)
    beta, alpha = _delta_gates(graph, x, layer)
    kept = _kept_values(graph, layer, index)
    joined = _with_state(graph, rows, layer["ssm_conv1d.weight"])
    state = _state(graph, kept)
    mixed = graph.new((layer["ssm_conv1d.weight"][-2], graph.tokens), joined)
    mixed = graph.over(mixed.shape, mixed)
    query, key = (graph.new(keys, graph.view(mixed, keys)) for _ in range(2))
    if "ssm_ba.weight" in layer and keys != inner:  # Repeated for each head of the values.
        query, key = (graph.new(inner, graph.view(part, keys)) for part in (query, key))
    value = graph.view(mixed, inner)
    found = (inner[0] * inner[1] + kept * graph.settings.sequences,)
    y = graph.new(found, query, key, value, alpha, beta, graph.view(state, state.shape))
    graph.keep(graph.view(y, (kept,)))
    y = graph.norm(graph.view(y, inner), inner, layer, "ssm_norm")
    y = graph.over(inner, y, graph.over(inner, graph.view(through, inner)))
    y = graph.product(graph.view(y, inner), layer, "ssm_out")
    return graph.view(y, y.shape)


def channel_delta_net(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value:
    """A delta net's layer `index` whose gate has a value a channel; queries, keys and values are
    projected and convolved apart (src/models/kimi-linear.cpp)."""
    inner = (layer["attn_output.weight"][-1], graph.tokens)
    sequences, reach = graph.settings.sequences, layer["ssm_conv1d_q.weight"][-1] - 1
    graph.graph.expand(x)
    remembered = _state(graph, 3 * inner[0] * reach)
    joined = []
    for name in ("attn_q", "attn_k", "attn_v"):
        parts = (graph.view(remembered, inner), graph.view(graph.product(x, layer, name), inner))
        joined.append(graph.new((inner[0] * (graph.tokens + reach * sequences),), *parts))
        graph.keep(graph.view(joined[-1], (inner[0] * reach,)))
    kept = graph.model.layer_caches[index].state_values - 3 * inner[0] * reach
    state = _state(graph, kept)
    query, key, value = (
        graph.over(inner, graph.view(graph.new(inner, rows), inner)) for rows in joined
    )
    query, key = (graph.over(inner, graph.view(rows, inner)) for rows in (query, key))
    gate = graph.product(graph.product(x, layer, "ssm_f_a"), layer, "ssm_f_b")
    gate = graph.over(inner, graph.view(graph.over(inner, gate), inner))
    beta = graph.product(x, layer, "ssm_beta")
    beta = graph.over(beta.shape, graph.view(beta, beta.shape))
    read = (query, key, graph.view(value, inner), gate, beta, graph.view(state, state.shape))
    found = graph.new((inner[0] * inner[1] + kept * sequences,), *read)
    y = graph.new(inner, graph.view(found, inner))
    graph.keep(graph.view(found, (kept,)))
    y = graph.norm(graph.view(y, inner), inner, layer, "ssm_norm")
    through = graph.product(graph.view(x, x.shape), layer, "ssm_g_a")
    through = graph.product(through, layer, "ssm_g_b")
    y = graph.over(inner, y, graph.over(inner, graph.view(through, inner)))
    return graph.product(graph.new(inner, y), layer, "attn_output")


def _delta_rows(
    graph: GraphBuilder,
    x: Value,
    layer: Layer,
    inner: tuple[int, int],
    keys: tuple[int, int],
) -> tuple[Value, Value]:
    """Queries, keys and values as one, and what lets the result through."""
    if "attn_qkv.weight" in layer:
        return graph.product(x, layer, "attn_qkv"), graph.product(x, layer, "attn_gate")
    joined = graph.product(x, layer, "ssm_in")
    through, query, key, value = (
        graph.new(shape, graph.view(joined, shape)) for shape in (inner, keys, keys, inner)
    )
    both = graph.new((2 * keys[0], graph.tokens), query, key)
    return graph.new((2 * keys[0] + inner[0], graph.tokens), both, value), through


def _delta_gates(graph: GraphBuilder, x: Value, layer: Layer) -> tuple[Value, Value]:
    """How much each head's state takes in, and how much of it stays."""
    if "ssm_ba.weight" in layer:
        both = graph.product(x, layer, "ssm_ba")
        heads = (both.shape[0] // 2, graph.tokens)
        beta, alpha = (graph.new(heads, graph.view(both, heads)) for _ in range(2))
    else:
        beta, alpha = graph.product(x, layer, "ssm_beta"), graph.product(x, layer, "ssm_alpha")
    return graph.over(beta.shape, beta), graph.over(alpha.shape, alpha)


def short_convolution(graph: GraphBuilder, x: Value, layer: Layer) -> Value:
    """A gated convolution over a few tokens."""
    shape = (graph.width, graph.tokens)
    joined = graph.product(x, layer, "shortconv.in_proj")
    before, after, rows = (graph.view(joined, shape) for _ in range(3))
    rows = graph.over(shape, before, rows)
    y = graph.new(shape, _with_state(graph, rows, layer["shortconv.conv.weight"]))
    y = graph.product(graph.over(shape, after, y), layer, "shortconv.out_proj")
    return graph.view(y, y.shape)


def _convolved(graph: GraphBuilder, rows: Value, layer: Layer) -> Value:
    joined = _with_state(graph, rows, layer["ssm_conv1d.weight"])
    y = graph.new((layer["ssm_conv1d.weight"][-2], graph.tokens), joined)
    return graph.over(y.shape, y)


def _with_state(graph: GraphBuilder, rows: Value, kernel: tuple[int, ...]) -> Value:
    """The rows of all tokens after those that are remembered; the last of them are kept."""
    channels, length = kernel[-2:]
    sequences = graph.settings.sequences
    state = _state(graph, channels * (length - 1))
    whole = (channels * (graph.tokens + (length - 1) * sequences),)
    joined = graph.new(whole, graph.view(state, state.shape), graph.view(rows, rows.shape))
    graph.keep(graph.view(joined, state.shape))
    return joined


def _state(graph: GraphBuilder, values: int) -> Value:
    """What is remembered of each sequence."""
    state = graph.new((values, graph.settings.sequences), graph.state_places)
    graph.graph.expand(state)
    return state


def _kept_values(graph: GraphBuilder, layer: Layer, index: int) -> int:
    """Values of the layer's state, without those of the convolution."""
    channels, length = layer["ssm_conv1d.weight"][-2:]
    return graph.model.layer_caches[index].state_values - channels * (length - 1)
