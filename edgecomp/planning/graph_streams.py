"""Layers that carry several streams of states in llama.cpp's graphs (src/models/gemma3n.cpp): all
are predicted from each other, one goes through the layer, and all are corrected by what it became.
"""

from __future__ import annotations

from edgecomp.planning.graph_attention import attention
from edgecomp.planning.graph_builder import GraphBuilder, Layer
from edgecomp.planning.graph_memory import Value

SPARSE_LAYERS = 10
"""The first layers, whose hidden rows are cut off below a share of them, whatever the file says."""


def begun_streams(graph: GraphBuilder, x: Value, ends: Layer) -> Value:
    """The streams, the states `x` and what matrices make of them, scaled to their size."""
    others = (*x.shape, ends["altup_proj.weight"][0])
    size = _size(graph, x)
    made = graph.new(others, graph.new(others, x))
    made = graph.over(others, graph.over(others, made, size), _size(graph, made))
    return graph.new((*x.shape, others[-1] + 1), x, made)


def ended_streams(graph: GraphBuilder, streams: Value) -> Value:
    """The mean of the streams, each turned back."""
    shape, count = streams.shape[:2], streams.shape[2]
    size = _size(graph, graph.view(streams, shape))
    others = (*shape, count - 1)
    made = graph.new(others, graph.view(streams, others))
    made = graph.over(others, graph.over(others, made, size), _size(graph, made))
    y = graph.view(streams, shape)
    for _ in range(count - 1):
        y = graph.over(shape, y, graph.view(made, shape))
    return graph.over(shape, y)


def _size(graph: GraphBuilder, x: Value) -> Value:
    """The length of each row."""
    rows = (1, *x.shape[1:])
    return graph.over(rows, graph.new(rows, graph.over(x.shape, x)))


def streamed_layer(graph: GraphBuilder, streams: Value, layer: Layer, index: int) -> Value:
    """The streams after layer `index`."""
    shape = streams.shape[:2]
    predicted = _predicted(graph, streams, layer)
    active = graph.view(predicted, shape)
    normed = graph.norm(active, shape, layer, "attn_norm")
    narrow = graph.product(graph.product(normed, layer, "laurel_l"), layer, "laurel_r")
    beside = graph.norm(narrow, shape, layer, "laurel_post_norm")
    beside = graph.over(shape, beside, normed)
    y = graph.norm(attention(graph, normed, layer, index), shape, layer, "post_attention_norm")
    y = graph.over(shape, graph.over(shape, y, active), beside)
    y = graph.over(shape, y)
    z = _feed_forward(graph, graph.norm(y, shape, layer, "ffn_norm"), layer, index)
    y = graph.over(shape, graph.norm(z, shape, layer, "post_ffw_norm"), y)
    corrected = _corrected(graph, predicted, y, layer)
    own = _own_input(graph, graph.view(corrected, shape), layer)
    others = (*shape, streams.shape[2] - 1)
    changed = graph.over(others, graph.view(corrected, others), own)
    return graph.new(streams.shape, graph.view(corrected, shape), changed)


def _routed(graph: GraphBuilder, x: Value, layer: Layer) -> Value:
    """How much each stream counts."""
    normed = graph.norm(x, x.shape, layer, "altup_router_norm")
    routed = graph.product(graph.over(x.shape, normed), layer, "altup_router")
    return graph.over(routed.shape, routed)


def _predicted(graph: GraphBuilder, streams: Value, layer: Layer) -> Value:
    shape = streams.shape
    weights = _routed(graph, graph.view(streams, shape[:2]), layer)
    weights = graph.product(weights, layer, "altup_predict_coef")
    turned = graph.new(shape, graph.view(streams, shape))
    y = graph.new(shape, turned, graph.view(weights, weights.shape))
    return graph.over(shape, graph.new(shape, graph.view(y, shape)), streams)


def _corrected(graph: GraphBuilder, predicted: Value, y: Value, layer: Layer) -> Value:
    shape = predicted.shape
    weights = graph.product(_routed(graph, y, layer), layer, "altup_correct_coef")
    weights = graph.over(weights.shape, weights)
    weights = graph.new(weights.shape, graph.view(weights, weights.shape))
    change = graph.over(y.shape, y, graph.view(predicted, y.shape))
    change = graph.new(shape, change)
    return graph.over(shape, graph.over(shape, change, weights), predicted)


def _feed_forward(graph: GraphBuilder, x: Value, layer: Layer, index: int) -> Value:
    up, gate = graph.product(x, layer, "ffn_up"), graph.product(x, layer, "ffn_gate")
    if index < SPARSE_LAYERS:
        rows = (1, graph.tokens)
        mean = graph.new(rows, gate)
        squares = graph.over(gate.shape, graph.over(gate.shape, gate, mean))
        spread = graph.over(rows, graph.new(rows, squares))
        gate = graph.over(gate.shape, gate, graph.over(rows, mean, graph.over(rows, spread)))
        gate = graph.over(gate.shape, gate)
    gate = graph.over(gate.shape, gate)
    return graph.product(graph.over(up.shape, up, gate), layer, "ffn_down")


def _own_input(graph: GraphBuilder, x: Value, layer: Layer) -> Value:
    """What the layer looks up of each token by itself, weighed by a stream."""
    scaled = graph.over(x.shape, x)
    gate = graph.product(scaled, layer, "inp_gate")
    gate = graph.over(gate.shape, gate)
    own = graph.view(graph.layer_inputs or x, gate.shape)
    y = graph.product(graph.over(gate.shape, gate, own), layer, "proj")
    return graph.norm(y, x.shape, layer, "post_norm")
